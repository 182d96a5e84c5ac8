/* Translates its arguments from English into French, word by word, with the translator inside the library.
 *
 *   cc -I android/include android/examples/translate.c -L target/release -lbabil_jni -o translate
 *   LD_LIBRARY_PATH=target/release ./translate "Where is the station?"
 */
#include <babil.h>
#include <stdio.h>
#include <string.h>

static int failed(const char *what) {
  fprintf(stderr, "%s: %s\n", what, babil_last_error());
  return 1;
}

int main(int count, char **arguments) {
  babil_needs needs;
  if (babil_plan(NULL, NULL, &needs) != BABIL_STATUS_OK) return failed("plan");
  fprintf(stderr, "needs %.1f MB\n", (double)(needs.weights + needs.working) / 1e6);
  uint64_t engine;
  if (babil_open(NULL, NULL, &engine) != BABIL_STATUS_OK) return failed("open");
  for (int i = 1; i < count; i++) {
    uint64_t translation;
    size_t length = strlen(arguments[i]);
    if (babil_translate(engine, "en", "fr", arguments[i], length, &translation) != BABIL_STATUS_OK) {
      return failed("translate");
    }
    babil_piece piece;
    babil_status status;
    while ((status = babil_next(translation, &piece)) == BABIL_STATUS_OK) {
      fwrite(piece.text, 1, piece.length, stdout);
      fflush(stdout);
      babil_piece_free(&piece);
    }
    if (status != BABIL_STATUS_END) return failed("next");
    putchar('\n');
    babil_statistics statistics;
    if (babil_stats(translation, &statistics) != BABIL_STATUS_OK) return failed("stats");
    if (statistics.finish != BABIL_FINISH_COMPLETE) fputs("(not all of it)\n", stderr);
    babil_close(translation);
  }
  babil_close(engine);
  /* What is closed is refused, not used. */
  return babil_cancel(engine) == BABIL_STATUS_CLOSED ? 0 : failed("closed");
}
