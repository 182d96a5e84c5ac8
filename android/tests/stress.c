/* Calls of the C API in any order from many threads, on what is open, on what was closed and on numbers that never were
 * anything. Every call must end with a status that the header allows it; after a cancellation nothing may come, and what
 * is closed must be refused. Memory is watched from outside: by valgrind, or by a sanitizer.
 *
 *   stress MODEL THREADS CALLS      MODEL is a language model with a chat template; CALLS for each thread
 */
#define _POSIX_C_SOURCE 200809L
#include <babil.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ENGINES = 4, CHATS = 8, GENERATIONS = 16 };

/* Shared by all threads, and still used when others have closed what they stand for. */
static _Atomic uint64_t engines[ENGINES], chats[CHATS], generations[GENERATIONS];
static const char *model;
static long calls;
static atomic_long begun, pieces, ends, refused, busy;

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
    pieces++;
    babil_piece_free(&piece);
    babil_piece_free(&piece);
  }
  return status;
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
  babil_close(own);
  babil_close(own);
  status = pull(own);
  if (status != BABIL_STATUS_CLOSED) wrong("next after close", status);
}

static void *work(void *argument) {
  worker *self = argument;
  for (long i = 0; i < calls; i++) {
    _Atomic uint64_t *engine = &engines[choose(self, ENGINES)];
    _Atomic uint64_t *chat = &chats[choose(self, CHATS)];
    _Atomic uint64_t *generation = &generations[choose(self, GENERATIONS)];
    uint64_t made;
    babil_status status;
    switch (choose(self, 24)) {
      case 0: {
        /* Even places hold translators, odd ones language models. */
        int translates = (engine - engines) % 2 == 0;
        babil_options options = {.threads = 1 + choose(self, 2), .context = translates ? 0 : 256};
        if (went_on("open", babil_open(translates ? NULL : model, &options, &made))) keep(engine, made);
        break;
      }
      case 1: case 2: case 3:
        engine = &engines[choose(self, ENGINES / 2) * 2];
        status = babil_translate(*engine, "en", "fr", SOURCE, sizeof SOURCE - 1, &made);
        if (went_on("translate", status)) keep(generation, made);
        break;
      case 4: case 5:
        engine = &engines[choose(self, ENGINES / 2) * 2 + 1];
        if (went_on("chat", babil_chat(*engine, NULL, 0, 1, 16, &made))) keep(chat, made);
        break;
      case 6: case 7: case 8:
        if (went_on("say", babil_say(*chat, "hello", 5, &made))) keep(generation, made);
        break;
      case 9: race(self, engines[choose(self, ENGINES / 2) * 2]); break;
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
      default: pull(*generation);
    }
  }
  return NULL;
}

int main(int count, char **arguments) {
  if (count != 4) {
    fprintf(stderr, "usage: %s MODEL THREADS CALLS\n", arguments[0]);
    return 2;
  }
  model = arguments[1];
  long threads = atol(arguments[2]);
  calls = atol(arguments[3]);
  for (int i = 0; i < ENGINES; i++) {
    uint64_t engine;
    if (!went_on("open", babil_open(i % 2 == 0 ? NULL : model, &(babil_options){.threads = 1}, &engine))) return 1;
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
  printf("%ld calls of %ld threads: %ld objects, %ld pieces, %ld ends, %ld refused, %ld busy\n", calls * threads,
         threads, begun, pieces, ends, refused, busy);
  return pieces > 0 && ends > 0 ? 0 : 1;
}
