package dev.babil;

import java.io.File;

/** Writes down what is said. Safe to use from any thread; any number of transcripts can be under way. */
public final class Transcriber {
  private final long engine;
  private final TranscriberOptions options;

  Transcriber(long engine, TranscriberOptions options) {
    this.engine = engine;
    this.options = options;
  }

  /**
   * Begins to write down a file of any length and of any usual format.
   *
   * @param file the file, of sound or with a sound track
   * @return the transcript, to be closed
   * @throws BabilException {@link Code#BAD_ARGUMENT} where it is null, {@link Code#UNSUPPORTED} where the library is
   *     without sound. What is wrong with the file or the options comes from {@link Transcript#next()}.
   * @throws IllegalStateException the engine is closed
   */
  public Transcript start(File file) {
    byte[] path = Text.of(Text.notNull(file, "the file").getPath(), "the file");
    return new Transcript(Native.transcribe(engine, path, options.language, options.english, options.beam));
  }

  /**
   * Begins to write down sound while it comes, from a microphone or a stream: {@link LiveCaptions#push(float[], int, int)}
   * takes it.
   *
   * @param whenFull what happens to sound while thirty seconds of it wait already
   * @return the captions, to be closed
   * @throws BabilException {@link Code#BAD_ARGUMENT} where it is null, {@link Code#UNSUPPORTED} where the library is
   *     without sound
   * @throws IllegalStateException the engine is closed
   */
  public LiveCaptions listen(LiveCaptions.WhenFull whenFull) {
    boolean waits = Text.notNull(whenFull, "what happens to sound") == LiveCaptions.WhenFull.WAIT;
    return new LiveCaptions(Native.listen(engine, options.language, options.english, options.beam, waits));
  }
}
