package dev.babil;

/**
 * The native library. Handles are numbers that are never used twice; one that was closed throws {@link
 * IllegalStateException}. Byte arrays are UTF-8, or records that {@link Text} reads. Who has no handle yet calls {@link
 * Library#load()} first.
 */
final class Native {
  private Native() {}

  static native byte[] version();

  static native byte[] instructionSet();

  static native long open(
      int kind,
      byte[] name,
      byte[] folder,
      int descriptor,
      long offset,
      long length,
      int threads,
      long memoryLimit,
      int context,
      byte[] packedFolder,
      int device);

  static native byte[] plan(
      int kind,
      byte[] name,
      byte[] folder,
      int descriptor,
      long offset,
      long length,
      int context,
      byte[] packedFolder);

  static native int kind(long engine);

  static native byte[] pairs(long engine);

  static native void close(long handle);

  static native void checkPair(long engine, byte[] from, byte[] to);

  static native long translate(long engine, byte[] from, byte[] to, byte[] text, boolean live);

  static native long chat(
      long engine, byte[] system, int maxTokens, float temperature, int topK, float topP, long seed, int think);

  static native long say(long chat, byte[] message);

  static native byte[] history(long chat);

  static native void clear(long chat);

  static native byte[] next(long generation);

  static native void cancel(long generation);

  static native byte[] stats(long generation);

  static native long transcribe(long engine, byte[] file, byte[] language, boolean english, int beam);

  static native long listen(
      long engine,
      byte[] language,
      boolean english,
      int beam,
      boolean waits,
      long translator,
      byte[] from,
      byte[] to);

  static native long translateSubtitles(
      long engine, byte[] from, byte[] to, byte[] file, int format, int columns, int lines);

  static native long subtitles(
      long engine,
      byte[] file,
      byte[] language,
      boolean english,
      int beam,
      long translator,
      byte[] from,
      byte[] to,
      int format,
      int columns,
      int lines);

  static native boolean push(long captions, float[] samples, int start, int count);

  static native void endOfSound(long captions);

  static native byte[] models(byte[] folder, byte[] endpoint, byte[] token);

  static native long verify(byte[] name, byte[] folder);

  static native long delete(byte[] name, byte[] folder);

  static native long pull(byte[] name, byte[] folder, byte[] endpoint, byte[] token);

  static native long energyOpen(
      int kind, byte[] name, int count, double resolution, double update, double gain, double offset);

  static native boolean energyPush(long monitor, double reading, double age);

  static native void energyFailed(long monitor, byte[] why);

  static native long energyBegin(long monitor);

  static native byte[] energyEnd(long window, boolean nothing);
}
