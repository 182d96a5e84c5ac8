/* babil for C: translation, small language models and speech, on the device itself.
 *
 * Engines, conversations and generations are numbers that are never used twice; 0 is none. Everything is pulled: no thread
 * of the library calls into the program. All functions can be called from any thread. Using what was closed gives
 * BABIL_STATUS_CLOSED, and is never a crash. Strings are UTF-8 and end with NUL; texts have a length and may hold NUL.
 *
 * What the functions do stands beside them in android/src/c.rs too, and a test compares the two files.
 */
#ifndef BABIL_H
#define BABIL_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* How a call ended. Below zero it failed, and babil_last_error says why. */
typedef int32_t babil_status;
enum {
  /* It did what it should. */
  BABIL_STATUS_OK = 0,
  /* There is nothing more: the generation is complete, or was cancelled. */
  BABIL_STATUS_END = 1,
  /* The request does not suit the model, or is none. */
  BABIL_STATUS_BAD_ARGUMENT = -1,
  /* There is no such file or model. */
  BABIL_STATUS_NOT_FOUND = -2,
  /* The file is damaged, or not what it should be. */
  BABIL_STATUS_BAD_MODEL = -3,
  /* The model, or this build of the library, cannot do it. */
  BABIL_STATUS_UNSUPPORTED = -4,
  /* It needs more memory than it may have. Nothing was loaded. */
  BABIL_STATUS_TOO_LARGE = -5,
  /* Another answer is being made, which must end first. */
  BABIL_STATUS_BUSY = -6,
  /* The disk or the file system. */
  BABIL_STATUS_IO = -7,
  /* The connection, or what answers at its other end. */
  BABIL_STATUS_NETWORK = -8,
  /* It was cancelled. */
  BABIL_STATUS_CANCELLED = -9,
  /* A mistake in babil. What it was found in can no longer be used, everything else can. */
  BABIL_STATUS_INTERNAL = -10,
  /* The object was closed, or is of another kind. */
  BABIL_STATUS_CLOSED = -11
};

/* What a piece is. */
typedef int32_t babil_kind;
enum {
  /* Text of the answer or translation. */
  BABIL_KIND_ANSWER = 0,
  /* Text that the model thinks before it answers. */
  BABIL_KIND_THOUGHT = 1,
  /* Something that was said in a recording. */
  BABIL_KIND_SEGMENT = 2,
  /* A cue, as it stands in a file of subtitles, with what stands before it there. All pieces are the file. */
  BABIL_KIND_CUE = 3
};

/* A piece of what a generation makes. */
typedef struct babil_piece {
  babil_kind kind;
  /* When it was said and when that ended, in seconds from the beginning of the sound; 0 of other pieces. */
  double start;
  double end;
  /* Whole characters; a NUL follows, and there may be others before it. To be freed with babil_piece_free. */
  char *text;
  /* Bytes of the text, without the NUL that follows. */
  size_t length;
} babil_piece;

/* How to open a model. All zero is the usual. */
typedef struct babil_options {
  /* Threads; 0 is one for each fast core. */
  uint32_t threads;
  /* Most tokens of a conversation; 0 is what model and memory allow. */
  uint32_t context;
  /* Bytes; a model that needs more is refused. 0 is no limit. */
  uint64_t memory_limit;
  /* Where copies of weights are kept that are packed for this processor; NULL is the user's cache folder. */
  const char *packed_folder;
} babil_options;

/* The version of babil, such as 0.1.0. It lives as long as the library. */
const char *babil_version(void);

/* The instruction set that this CPU's kernels are written for: scalar, avx2, avxvnni, avx512, amx, neon, dotprod or i8mm. It
 * lives as long as the library. */
const char *babil_instruction_set(void);

/* What was wrong with the last call of this thread that failed. It lives until the next one that fails. */
const char *babil_last_error(void);

/* Opens a model: a file, a folder, or the translator inside the library where `model` is NULL. `options` may be NULL. */
babil_status babil_open(const char *model, const babil_options *options, uint64_t *engine);

/* Begins to translate `length` bytes of text from one language into another (ISO 639-1, as in "en"), of any length. */
babil_status babil_translate(uint64_t engine, const char *from, const char *to, const char *source, size_t length,
                             uint64_t *generation);

/* Begins a conversation. `system` is what the model is told before it, or NULL. A `temperature` of 0 takes the most probable
 * token; `max_tokens` is the length of an answer, 0 is what fits. */
babil_status babil_chat(uint64_t engine, const char *system, float temperature, uint64_t seed, uint32_t max_tokens,
                        uint64_t *chat);

/* Says `length` bytes of text; the answer comes as a generation. */
babil_status babil_say(uint64_t chat, const char *message, size_t length, uint64_t *generation);

/* Begins to write down what is said in a file. `language` may be NULL, it is found out then; a `beam` of 1 is the fastest. */
babil_status babil_transcribe(uint64_t engine, const char *file, const char *language, uint32_t beam,
                              uint64_t *generation);

/* Begins to translate a file of subtitles, SRT or WebVTT. `format` is 0 for that of the file, 1 for SRT, 2 for WebVTT. */
babil_status babil_translate_subtitles(uint64_t engine, const char *from, const char *to, const char *file,
                                       uint32_t format, uint64_t *generation);

/* Begins to write subtitles of a recording; arguments are those of babil_transcribe. Where `translator` is not 0, this
 * engine translates them from one language into another. `format` is 0 or 1 for SRT, 2 for WebVTT. */
babil_status babil_subtitles(uint64_t engine, const char *file, const char *language, uint32_t beam, uint64_t translator,
                             const char *from, const char *to, uint32_t format, uint64_t *generation);

/* Waits for the next piece of a generation: BABIL_STATUS_OK and a piece, which is to be freed, or BABIL_STATUS_END. */
babil_status babil_next(uint64_t generation, babil_piece *piece);

/* Frees the text of a piece that babil_next gave and nobody changed. The piece is empty then; one that is NULL or empty
 * stays so. */
void babil_piece_free(babil_piece *piece);

/* Ends a generation: babil_next says that there is nothing more. Waits for nothing, from any thread. */
babil_status babil_cancel(uint64_t generation);

/* Closes an object, and all that was begun on it. Waits for the layer of the model that is being computed. From any thread,
 * any number of times; what is no object is left alone. */
void babil_close(uint64_t object);

#ifdef __cplusplus
}
#endif

#endif
