/* babil for C: translation, small language models and speech, on the device itself.
 *
 * Engines, conversations and generations are numbers that are never used twice; 0 is none. Everything is pulled: no thread
 * of the library calls into the program. All functions can be called from any thread. Using what was closed gives
 * BABIL_STATUS_CLOSED, and is never a crash. Strings are UTF-8 and end with NUL; texts have a length and may hold NUL.
 *
 * Made from android/src/c by `just header`: change it there.
 */

#ifndef BABIL_H
#define BABIL_H

#include <stddef.h>
#include <stdint.h>

/**
 * Bytes of a code of a language and the NUL that follows, such as `en`, `yue` or `zh_Hant`.
 */
#define BABIL_LANGUAGE 16

/**
 * How a call ended. Below zero it failed, and `babil_last_error` says why.
 */
enum babil_status
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /**
   * It did what it should.
   */
  BABIL_STATUS_OK = 0,
  /**
   * There is nothing more: the generation is complete, or was cancelled.
   */
  BABIL_STATUS_END = 1,
  /**
   * The request does not suit the model, or is none.
   */
  BABIL_STATUS_BAD_ARGUMENT = -1,
  /**
   * There is no such file or model.
   */
  BABIL_STATUS_NOT_FOUND = -2,
  /**
   * The file is damaged, or not what it should be.
   */
  BABIL_STATUS_BAD_MODEL = -3,
  /**
   * The model, or this build of the library, cannot do it.
   */
  BABIL_STATUS_UNSUPPORTED = -4,
  /**
   * It needs more memory than it may have. Nothing was loaded.
   */
  BABIL_STATUS_TOO_LARGE = -5,
  /**
   * Another answer is being made, which must end first: the same call may succeed then.
   */
  BABIL_STATUS_BUSY = -6,
  /**
   * The disk or the file system.
   */
  BABIL_STATUS_IO = -7,
  /**
   * The connection, or what answers at its other end: the same call may succeed later.
   */
  BABIL_STATUS_NETWORK = -8,
  /**
   * It was cancelled.
   */
  BABIL_STATUS_CANCELLED = -9,
  /**
   * A mistake in babil. What it was found in can no longer be used, everything else can.
   */
  BABIL_STATUS_INTERNAL = -10,
  /**
   * The object was closed, or is of another kind.
   */
  BABIL_STATUS_CLOSED = -11,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum babil_status babil_status;
#else
typedef int32_t babil_status;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * What a model does.
 */
enum babil_task
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /**
   * It translates text and subtitles: `babil_pair_of` has its directions.
   */
  BABIL_TASK_TRANSLATE = 0,
  /**
   * It holds conversations.
   */
  BABIL_TASK_CHAT = 1,
  /**
   * It writes down what is said.
   */
  BABIL_TASK_TRANSCRIBE = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum babil_task babil_task;
#else
typedef int32_t babil_task;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * What a piece is.
 */
enum babil_kind
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /**
   * Text of the answer or translation.
   */
  BABIL_KIND_ANSWER = 0,
  /**
   * Text that the model thinks before it answers.
   */
  BABIL_KIND_THOUGHT = 1,
  /**
   * Something that was said in a recording.
   */
  BABIL_KIND_SEGMENT = 2,
  /**
   * A cue, as it stands in a file of subtitles, with what stands before it there. All pieces are the file.
   */
  BABIL_KIND_CUE = 3,
  /**
   * What is being said: the text will stay until the caption and only grows, and the tail may be something else next time.
   */
  BABIL_KIND_PARTIAL = 4,
  /**
   * What was said; it replaces the partial pieces since the caption before. The text is empty where it was no speech after
   * all, or where only a translation was missing.
   */
  BABIL_KIND_CAPTION = 5,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum babil_kind babil_kind;
#else
typedef int32_t babil_kind;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * Why a generation ended.
 */
enum babil_finish
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /**
   * It came to its end.
   */
  BABIL_FINISH_COMPLETE = 0,
  /**
   * A text came that was to end it.
   */
  BABIL_FINISH_STOP_STRING = 1,
  /**
   * There are as many tokens as were allowed.
   */
  BABIL_FINISH_LENGTH = 2,
  /**
   * The context is full.
   */
  BABIL_FINISH_CONTEXT = 3,
  /**
   * It was cancelled.
   */
  BABIL_FINISH_CANCELLED = 4,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum babil_finish babil_finish;
#else
typedef int32_t babil_finish;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * What computes.
 */
enum babil_device
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /**
   * The processor.
   */
  BABIL_DEVICE_CPU = 0,
  /**
   * The NPU; a model is refused that cannot be computed there.
   */
  BABIL_DEVICE_NPU = 1,
  /**
   * The NPU where there is one that can, or else the processor.
   */
  BABIL_DEVICE_AUTO = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum babil_device babil_device;
#else
typedef int32_t babil_device;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * Whether the model thinks before it answers.
 */
enum babil_think
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /**
   * As it is used to.
   */
  BABIL_THINK_DEFAULT = 0,
  /**
   * It does.
   */
  BABIL_THINK_YES = 1,
  /**
   * It does not.
   */
  BABIL_THINK_NO = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum babil_think babil_think;
#else
typedef int32_t babil_think;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * What happens to sound for which there is no room: half a minute of it may wait.
 */
enum babil_when_full
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /**
   * `babil_push` waits: for files.
   */
  BABIL_WHEN_FULL_WAIT = 0,
  /**
   * The oldest sound is lost, and the next caption says how much: for microphones.
   */
  BABIL_WHEN_FULL_DROP = 1,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum babil_when_full babil_when_full;
#else
typedef int32_t babil_when_full;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * How a conversation is held. All zero always takes the most probable token, and lets the model write what fits.
 */
typedef struct babil_chat_options {
  /**
   * What the model is told before the conversation, or NULL.
   */
  const char *system;
  /**
   * Logits are divided by it; 0 takes the most probable token.
   */
  float temperature;
  /**
   * Only the most probable tokens that together make up this much; 0 and 1 are off.
   */
  float top_p;
  /**
   * Only so many most probable tokens; 0 is off.
   */
  uint32_t top_k;
  /**
   * Most tokens of an answer; 0 is what fits.
   */
  uint32_t max_tokens;
  /**
   * Where the random numbers begin.
   */
  uint64_t seed;
  /**
   * Whether the model thinks before it answers: a `babil_think`.
   */
  int32_t think;
} babil_chat_options;

/**
 * How captions are made. All zero finds out the language, with the fastest beam, and waits for room.
 */
typedef struct babil_listen_options {
  /**
   * The language that is spoken; NULL is found out, or is that which the translator reads.
   */
  const char *language;
  /**
   * Texts that are followed at the same time; 0 and 1 are the fastest.
   */
  uint32_t beam;
  /**
   * What happens to sound for which there is no room: a `babil_when_full`.
   */
  int32_t when_full;
  /**
   * The engine that translates what is said; 0 for none.
   */
  uint64_t translator;
  /**
   * From which language it translates; only where there is a translator.
   */
  const char *from;
  /**
   * Into which.
   */
  const char *to;
} babil_listen_options;

/**
 * How to open a model. All zero is the usual.
 */
typedef struct babil_options {
  /**
   * Threads; 0 is one for each fast core.
   */
  uint32_t threads;
  /**
   * Most tokens of a conversation; 0 is what model and memory allow.
   */
  uint32_t context;
  /**
   * Bytes; a model that needs more is refused. 0 is no limit.
   */
  uint64_t memory_limit;
  /**
   * Where copies of weights are kept that are packed for this processor; NULL is the user's cache folder.
   */
  const char *packed_folder;
  /**
   * What computes encoders and prompts: a `babil_device`.
   */
  int32_t device;
} babil_options;

/**
 * A direction of a translator: codes of languages, which end with NUL.
 */
typedef struct babil_pair {
  /**
   * What it reads.
   */
  char from[BABIL_LANGUAGE];
  /**
   * What it writes.
   */
  char to[BABIL_LANGUAGE];
} babil_pair;

/**
 * What a model would need.
 */
typedef struct babil_needs {
  /**
   * Bytes that are mapped from a file, which the system may drop and read again when memory is short.
   */
  uint64_t weights;
  /**
   * Bytes of the program's own: of a language model with one conversation of the full context, of a translator with the
   * longest sentence, of a speech model with one window of sound.
   */
  uint64_t working;
  /**
   * Bytes of copies on disk that have to be made: packed for this processor, and of a file of torch as safetensors.
   */
  uint64_t disk;
  /**
   * Bytes that programs can still take now; 0 where the system does not say. `memory_limit` is compared with the sum of
   * `weights` and `working`.
   */
  uint64_t available;
  /**
   * The tokens that a conversation can have; 0 of other models.
   */
  uint64_t context;
} babil_needs;

/**
 * A piece of what a generation makes. What a kind of piece does not have is zero.
 */
typedef struct babil_piece {
  /**
   * What it is.
   */
  babil_kind kind;
  /**
   * When it was said, in seconds from the beginning of the sound.
   */
  double start;
  /**
   * When that ended.
   */
  double end;
  /**
   * UTF-8, whole characters; a NUL follows, and there may be others before it. To be freed with `babil_piece_free`.
   */
  char *text;
  /**
   * Bytes of the text, without the NUL that follows.
   */
  uintptr_t length;
  /**
   * The code of the language that was spoken, of segments; empty where the model knows one only.
   */
  char language[BABIL_LANGUAGE];
  /**
   * Of what is being said, what to put behind the text as it is; it ends with NUL.
   */
  char *tail;
  /**
   * Of captions, the translation of the sentences that this one completes, where there is a translator; it ends with NUL, and
   * is empty where none is complete.
   */
  char *translation;
  /**
   * Of captions, the seconds of sound that were lost since the one before, because there was no room for it.
   */
  double lost;
} babil_piece;

/**
 * Why and how a generation ended.
 */
typedef struct babil_statistics {
  /**
   * Why it ended: a text that was cut is not complete.
   */
  babil_finish finish;
  /**
   * Tokens that were read, those included that were known before.
   */
  uint64_t read;
  /**
   * Tokens that were read and known before, from the same conversation.
   */
  uint64_t reused;
  /**
   * Tokens that were written.
   */
  uint64_t written;
  /**
   * Seconds of reading.
   */
  double reading;
  /**
   * Seconds until the first piece; below zero where none came.
   */
  double first;
  /**
   * Seconds of writing.
   */
  double writing;
} babil_statistics;

/**
 * A message of a conversation.
 */
typedef struct babil_message {
  /**
   * Who said it, such as `user` or `assistant`; it ends with NUL.
   */
  char *role;
  /**
   * What was said, as in `babil_piece`.
   */
  char *text;
  /**
   * Bytes of the text, without the NUL that follows.
   */
  uintptr_t length;
  /**
   * What the model thought before; empty of others.
   */
  char *thoughts;
  /**
   * Bytes of the thoughts, without the NUL that follows.
   */
  uintptr_t thoughts_length;
} babil_message;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * The version of babil, such as `0.1.0`. It lives as long as the library.
 */
const char *babil_version(void);

/**
 * The instruction set that this CPU's kernels are written for: `scalar`, `avx2`, `avxvnni`, `avx512`,
 * `amx`, `neon`, `dotprod` or `i8mm`. It lives as long as the library.
 */
const char *babil_instruction_set(void);

/**
 * What was wrong with the last call of this thread that failed. It lives until the next one that fails.
 */
const char *babil_last_error(void);

/**
 * Closes an object, and all that was begun on it. Waits for the layer of the model that is being computed. From any thread,
 * any number of times; what is no object is left alone.
 */
void babil_close(uint64_t object);

/**
 * Begins to translate `length` bytes of UTF-8 from one language into another (ISO 639-1, as in `en`), of any length.
 */
babil_status babil_translate(uint64_t engine,
                             const char *from,
                             const char *to,
                             const char *source,
                             uintptr_t length,
                             uint64_t *generation);

/**
 * Begins a conversation. `options` may be NULL.
 */
babil_status babil_chat(uint64_t engine, const struct babil_chat_options *options, uint64_t *chat);

/**
 * Says `length` bytes of UTF-8; the answer comes as a generation.
 */
babil_status babil_say(uint64_t chat, const char *message, uintptr_t length, uint64_t *generation);

/**
 * Begins to write down what is said in a file. `language` may be NULL, it is found out then; a `beam` of 1 is the fastest.
 */
babil_status babil_transcribe(uint64_t engine,
                              const char *file,
                              const char *language,
                              uint32_t beam,
                              uint64_t *generation);

/**
 * Begins to translate a file of subtitles, SRT or WebVTT. `format` is 0 for that of the file, 1 for SRT, 2 for WebVTT.
 */
babil_status babil_translate_subtitles(uint64_t engine,
                                       const char *from,
                                       const char *to,
                                       const char *file,
                                       uint32_t format,
                                       uint64_t *generation);

/**
 * Begins to write subtitles of a recording; arguments are those of `babil_transcribe`. Where `translator` is not 0, this
 * engine translates them from one language into another. `format` is 0 or 1 for SRT, 2 for WebVTT.
 */
babil_status babil_subtitles(uint64_t engine,
                             const char *file,
                             const char *language,
                             uint32_t beam,
                             uint64_t translator,
                             const char *from,
                             const char *to,
                             uint32_t format,
                             uint64_t *generation);

/**
 * Begins to write down what is said in sound that `babil_push` brings. `captions` is a generation, for `babil_next` and the
 * others, and is closed like one. `options` may be NULL.
 */
babil_status babil_listen(uint64_t engine,
                          const struct babil_listen_options *options,
                          uint64_t *captions);

/**
 * Adds `count` samples of sound to what is listened to: one channel, 16000 a second, from -1 to 1. `BABIL_STATUS_END` where
 * nobody listens any more, because the captions failed or were cancelled; `BABIL_STATUS_CLOSED` after `babil_end_of_sound`.
 */
babil_status babil_push(uint64_t captions,
                        const float *samples,
                        uintptr_t count);

/**
 * Says that the sound is over: the rest of what was said comes, and then the end.
 */
babil_status babil_end_of_sound(uint64_t captions);

/**
 * Opens a model: a file, a folder, or the translator inside the library where `model` is NULL. `options` may be NULL.
 */
babil_status babil_open(const char *model, const struct babil_options *options, uint64_t *engine);

/**
 * Opens a model that is a part of an open file, `length` bytes from `offset` on: it is mapped, and the descriptor may be closed
 * afterwards. Errors call the model `name`, by which its packed copies are found again. `options` may be NULL.
 */
babil_status babil_open_descriptor(int32_t descriptor,
                                   uint64_t offset,
                                   uint64_t length,
                                   const char *name,
                                   const struct babil_options *options,
                                   uint64_t *engine);

/**
 * What the model of an engine does.
 */
babil_status babil_task_of(uint64_t engine, babil_task *task);

/**
 * Direction number `index` of a translator: `BABIL_STATUS_OK`, or `BABIL_STATUS_END` where it has not so many. Other models
 * have none.
 */
babil_status babil_pair_of(uint64_t engine,
                           uintptr_t index,
                           struct babil_pair *pair);

/**
 * What the model that `babil_open` would open needs. Nothing is loaded, and nothing is made of its files.
 */
babil_status babil_plan(const char *model, const struct babil_options *options, struct babil_needs *result);

/**
 * What the model that `babil_open_descriptor` would open needs. Nothing is loaded.
 */
babil_status babil_plan_descriptor(int32_t descriptor,
                                   uint64_t offset,
                                   uint64_t length,
                                   const char *name,
                                   const struct babil_options *options,
                                   struct babil_needs *result);

/**
 * Waits for the next piece of a generation: `BABIL_STATUS_OK` and a piece, which is to be freed, or `BABIL_STATUS_END`.
 */
babil_status babil_next(uint64_t generation, struct babil_piece *piece);

/**
 * Frees the texts of a piece, once. The piece is empty then; one that is NULL or empty stays so.
 */
void babil_piece_free(struct babil_piece *piece);

/**
 * Why and how a generation ended, once `babil_next` has said that it did. Of one that was just cancelled it waits for the
 * layer that is being computed. `BABIL_STATUS_CLOSED` where the last piece has not been read.
 */
babil_status babil_stats(uint64_t generation,
                         struct babil_statistics *result);

/**
 * What was said in a conversation, while nothing is being said: `BABIL_STATUS_OK` and message number `index`, which is to be
 * freed, or `BABIL_STATUS_END` where there are not so many.
 */
babil_status babil_history(uint64_t chat,
                           uintptr_t index,
                           struct babil_message *message);

/**
 * Frees the texts of a message, once. The message is empty then; one that is NULL or empty stays so.
 */
void babil_message_free(struct babil_message *message);

/**
 * Forgets what was said in a conversation, but for its system prompt.
 */
babil_status babil_clear(uint64_t chat);

/**
 * Ends a generation: `babil_next` says that there is nothing more. Waits for nothing, from any thread.
 */
babil_status babil_cancel(uint64_t generation);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* BABIL_H */
