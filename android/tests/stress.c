/* Calls of the C API in any order from many threads, on what is open, on what was closed and on numbers that never were
 * anything. Every call must end with a status that the header allows it; after a cancellation nothing may come, and what
 * is closed must be refused. Memory is watched from outside: by valgrind, or by a sanitizer.
 *
 *   stress MODEL SPEECH SOUND FILM THREADS CALLS      MODEL is a language model with a chat template, SPEECH hears SOUND,
 *                                                     FILM is a file of subtitles; CALLS for each thread
 */
#define _POSIX_C_SOURCE 200809L
#include <babil.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ENGINES = 6, CHATS = 8, GENERATIONS = 16 };

/* What an engine does is told by its place. */
enum { TRANSLATES, TALKS, HEARS, KINDS };

/* Shared by all threads, and still used when others have closed what they stand for. */
static _Atomic uint64_t engines[ENGINES], chats[CHATS], generations[GENERATIONS];
static const char *models[KINDS], *sound, *film;
static long calls;
static atomic_long begun, pieces, ends, refused, busy, messages;

static const char SOURCE[] = "Where is the station? I have lost my keys. The children are playing in the garden.";

typedef struct worker {
  pthread_t thread;
  uint64_t state;
} worker;

/* xorshift: each thread makes its own choices. */
static unsigned choose(worker *self, unsigned below) {
  self->state ^= self->state << 13;
  self->state ^= self->state >> 7;
  self->state ^= self->state << 17;
  return (unsigned)((self->state >> 32) % below);
}

/* An engine that does something, or did. */
static uint64_t any(worker *self, int kind) {
  return engines[choose(self, ENGINES / KINDS) * KINDS + (unsigned)kind];
}

static void wrong(const char *what, babil_status status) {
  fprintf(stderr, "%s: status %d: %s\n", what, (int)status, babil_last_error());
  abort();
}

/* What else threads have done to an object is no mistake of this call. */
static int went_on(const char *what, babil_status status) {
  switch (status) {
    case BABIL_STATUS_OK: return 1;
    case BABIL_STATUS_CLOSED: refused++; return 0;
    case BABIL_STATUS_BUSY: busy++; return 0;
    default: wrong(what, status); return 0;
  }
}

/* Puts a new object in the place of an older one, which is closed. */
static void keep(_Atomic uint64_t *place, uint64_t object) {
  babil_close(atomic_exchange(place, object));
  begun++;
}

/* The next piece, if there is one: whole text with a NUL behind it. */
static babil_status pull(uint64_t generation) {
  babil_piece piece;
  babil_status status = babil_next(generation, &piece);
  if (status == BABIL_STATUS_END) {
    ends++;
  } else if (went_on("next", status)) {
    if (piece.text == NULL || piece.text[piece.length] != 0) wrong("piece", status);
    int live = piece.kind == BABIL_KIND_PARTIAL || piece.kind == BABIL_KIND_CAPTION;
    if (live != (piece.tail != NULL) || live != (piece.translation != NULL)) wrong("caption", status);
    pieces++;
    babil_piece_free(&piece);
    babil_piece_free(&piece);
  }
  return status;
}

/* Why a generation ended, if it has: twice the same. */
static void ended(uint64_t generation) {
  babil_statistics first, second;
  if (!went_on("stats", babil_stats(generation, &first))) return;
  if (!went_on("stats", babil_stats(generation, &second))) return;
  if (first.finish != second.finish) wrong("an end that has changed", BABIL_STATUS_OK);
}

/* The last message of a conversation, or that there is none. */
static void look_back(uint64_t chat, size_t index) {
  babil_message message;
  babil_status status = babil_history(chat, index, &message);
  if (status == BABIL_STATUS_END || !went_on("history", status)) return;
  if (message.text[message.length] != 0 || message.thoughts[message.thoughts_length] != 0) wrong("message", status);
  if (strcmp(message.role, "user") != 0 && strcmp(message.role, "assistant") != 0) wrong("role", status);
  messages++;
  babil_message_free(&message);
  babil_message_free(&message);
}

/* A translation of this thread alone: after cancel there is an end and nothing more, after close nothing at all. */
static void race(worker *self, uint64_t engine) {
  uint64_t own;
  if (!went_on("translate", babil_translate(engine, "en", "fr", SOURCE, sizeof SOURCE - 1, &own))) return;
  begun++;
  for (unsigned i = choose(self, 4); i > 0; i--) pull(own);
  babil_status status = babil_cancel(own);
  if (status != BABIL_STATUS_OK && status != BABIL_STATUS_CLOSED) wrong("cancel", status);
  for (int i = 0; i < 2; i++) {
    status = pull(own);
    if (status != BABIL_STATUS_END && status != BABIL_STATUS_CLOSED) wrong("next after cancel", status);
  }
  babil_statistics statistics;
  status = babil_stats(own, &statistics);
  if (status != BABIL_STATUS_CLOSED && (status != BABIL_STATUS_OK || statistics.finish < BABIL_FINISH_COMPLETE)) {
    wrong("stats after cancel", status);
  }
  babil_close(own);
  babil_close(own);
  status = pull(own);
  if (status != BABIL_STATUS_CLOSED) wrong("next after close", status);
}

/* Captions of a few pieces of sound, of which others may pull while it is pushed here. */
static void listen(worker *self, _Atomic uint64_t *place) {
  static const float silence[8000];
  uint64_t captions;
  uint64_t translator = choose(self, 2) ? any(self, TRANSLATES) : 0;
  babil_listen_options options = {
      .language = "en", .when_full = (int32_t)choose(self, 2), .translator = translator, .from = "en", .to = "fr"};
  if (!went_on("listen", babil_listen(any(self, HEARS), &options, &captions))) return;
  keep(place, captions);
  for (unsigned i = choose(self, 4); i > 0; i--) {
    babil_status status = babil_push(captions, silence, sizeof silence / sizeof *silence);
    if (status == BABIL_STATUS_END || !went_on("push", status)) break;
  }
  /* Its sound ends in any case: threads that all wait for more of it would wait for ever. */
  if (choose(self, 4)) {
    went_on("end of sound", babil_end_of_sound(captions));
  } else {
    went_on("cancel", babil_cancel(captions));
  }
}

/* What a model does, and its directions: one at least of translators, none of others. */
static void look_at(unsigned place) {
  babil_task task;
  babil_pair pair;
  if (!went_on("task", babil_task_of(engines[place], &task))) return;
  babil_status status = babil_pair_of(engines[place], 0, &pair);
  if (status == BABIL_STATUS_END ? place % KINDS == TRANSLATES : went_on("pair", status) && place % KINDS != TRANSLATES) {
    wrong("pair", status);
  }
  if (status == BABIL_STATUS_OK && strcmp(pair.from, "en") != 0 && strcmp(pair.from, "fr") != 0) wrong("pair", status);
  static const babil_task TASKS[KINDS] = {BABIL_TASK_TRANSLATE, BABIL_TASK_CHAT, BABIL_TASK_TRANSCRIBE};
  if (task != TASKS[place % KINDS]) wrong("task", BABIL_STATUS_OK);
}

static void *work(void *argument) {
  worker *self = argument;
  for (long i = 0; i < calls; i++) {
    _Atomic uint64_t *engine = &engines[choose(self, ENGINES)];
    _Atomic uint64_t *chat = &chats[choose(self, CHATS)];
    _Atomic uint64_t *generation = &generations[choose(self, GENERATIONS)];
    uint64_t made;
    babil_status status;
    switch (choose(self, 32)) {
      case 0: {
        int kind = (int)((engine - engines) % KINDS);
        babil_options options = {.threads = 1 + choose(self, 2), .context = kind == TALKS ? 256 : 0};
        if (went_on("open", babil_open(models[kind], &options, &made))) keep(engine, made);
        break;
      }
      case 1: case 2: case 3:
        status = babil_translate(any(self, TRANSLATES), "en", "fr", SOURCE, sizeof SOURCE - 1, &made);
        if (went_on("translate", status)) keep(generation, made);
        break;
      case 4: case 5:
        if (went_on("chat", babil_chat(any(self, TALKS), &(babil_chat_options){.max_tokens = 16}, &made))) {
          keep(chat, made);
        }
        break;
      case 6: case 7: case 8:
        if (went_on("say", babil_say(*chat, "hello", 5, &made))) keep(generation, made);
        break;
      case 9: race(self, any(self, TRANSLATES)); break;
      case 10: case 11: went_on("cancel", babil_cancel(*generation)); break;
      case 12: babil_close(choose(self, 8) ? *generation : choose(self, 8) ? *chat : *engine); break;
      case 13:
        /* Another kind of object, and a number that nothing had. */
        status = babil_next(choose(self, 2) ? *engine : self->state | 1ull << 63, &(babil_piece){0});
        if (status != BABIL_STATUS_CLOSED) wrong("next of no generation", status);
        break;
      case 14:
        status = babil_translate(*engine, NULL, "fr", SOURCE, sizeof SOURCE - 1, &made);
        if (status != BABIL_STATUS_BAD_ARGUMENT && status != BABIL_STATUS_CLOSED) wrong("translate from null", status);
        break;
      case 15:
        if (went_on("transcribe", babil_transcribe(any(self, HEARS), sound, "en", 1, &made))) keep(generation, made);
        break;
      case 16: {
        uint64_t translator = choose(self, 2) ? any(self, TRANSLATES) : 0;
        status = babil_subtitles(any(self, HEARS), sound, "en", 1, translator, "en", "fr", 1 + choose(self, 2), &made);
        if (went_on("subtitles", status)) keep(generation, made);
        break;
      }
      case 17:
        status = babil_translate_subtitles(any(self, TRANSLATES), "en", "fr", film, 0, &made);
        if (went_on("translate subtitles", status)) keep(generation, made);
        break;
      case 18: case 19: ended(*generation); break;
      case 20: look_back(*chat, choose(self, 4)); break;
      case 21: if (choose(self, 4) == 0) went_on("clear", babil_clear(*chat)); break;
      case 22: {
        babil_needs needs;
        int kind = (int)choose(self, KINDS);
        if (went_on("plan", babil_plan(models[kind], NULL, &needs)) && needs.working == 0) wrong("plan", BABIL_STATUS_OK);
        break;
      }
      case 23: listen(self, generation); break;
      case 24: look_at(choose(self, ENGINES)); break;
      default: pull(*generation);
    }
  }
  return NULL;
}

int main(int count, char **arguments) {
  if (count != 7) {
    fprintf(stderr, "usage: %s MODEL SPEECH SOUND FILM THREADS CALLS\n", arguments[0]);
    return 2;
  }
  models[TALKS] = arguments[1];
  models[HEARS] = arguments[2];
  sound = arguments[3];
  film = arguments[4];
  long threads = atol(arguments[5]);
  calls = atol(arguments[6]);
  for (int i = 0; i < ENGINES; i++) {
    uint64_t engine;
    if (!went_on("open", babil_open(models[i % KINDS], &(babil_options){.threads = 1}, &engine))) return 1;
    keep(&engines[i], engine);
  }
  worker *workers = calloc((size_t)threads, sizeof *workers);
  for (long i = 0; i < threads; i++) {
    workers[i].state = 0x9e3779b97f4a7c15ull * (uint64_t)(i + 1);
    if (pthread_create(&workers[i].thread, NULL, work, &workers[i]) != 0) return 1;
  }
  for (long i = 0; i < threads; i++) pthread_join(workers[i].thread, NULL);
  free(workers);
  /* Closing an engine closes all that was begun on it. */
  for (int i = 0; i < ENGINES; i++) babil_close(engines[i]);
  for (int i = 0; i < GENERATIONS; i++) {
    if (pull(generations[i]) != BABIL_STATUS_CLOSED) wrong("next after the engine was closed", BABIL_STATUS_OK);
  }
  printf("%ld calls of %ld threads: %ld objects, %ld pieces, %ld ends, %ld messages, %ld refused, %ld busy\n",
         calls * threads, threads, begun, pieces, ends, messages, refused, busy);
  return pieces > 0 && ends > 0 ? 0 : 1;
}
