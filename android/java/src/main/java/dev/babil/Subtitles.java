package dev.babil;

import java.io.File;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.OutputStreamWriter;
import java.io.Writer;
import java.nio.charset.StandardCharsets;

/**
 * Subtitles that are being made, cue by cue. As a {@link Generation}: they end exactly once, and after {@link #cancel()} or
 * {@link #close()} nothing comes any more.
 */
public final class Subtitles extends Pulled {
  Subtitles(long handle) {
    super(handle);
  }

  /** The next part of the file: a cue, or what stands behind the last one. */
  private Cue part() {
    return pull(Cue::new);
  }

  /**
   * Waits for the next cue.
   *
   * @return the cue, or null at the end
   * @throws BabilException what is wrong with the file ({@link Code#BAD_ARGUMENT} where it holds no subtitles or no sound,
   *     {@link Code#UNSUPPORTED} where it cannot be decoded, {@link Code#NOT_FOUND}, {@link Code#IO}), or with the options
   * @throws IllegalStateException the subtitles are closed
   */
  public Cue next() {
    for (Cue part; (part = part()) != null; ) {
      if (part.isShown()) {
        return part;
      }
    }
    return null;
  }

  /**
   * Writes the cues that are still to come into a file, as UTF-8. It has the name {@code FILE.part} until it is complete; of
   * subtitles that were cancelled or failed nothing is left.
   *
   * @param file the file; one that exists is replaced
   * @return true; false where the subtitles were cancelled, and the file is as it was
   * @throws BabilException as {@link #next()}; {@link Code#IO} where it cannot be written
   * @throws IllegalStateException the subtitles are closed
   */
  public boolean writeTo(File file) {
    File part = new File(Text.notNull(file, "the file of subtitles").getPath() + ".part");
    try {
      try (Writer out = new OutputStreamWriter(new FileOutputStream(part), StandardCharsets.UTF_8)) {
        for (Cue cue; (cue = part()) != null; ) {
          out.write(cue.written());
        }
      }
      if (finish() == Finish.CANCELLED) {
        return false;
      }
      // Where a file cannot take the place of another one, that one goes first.
      if (!part.renameTo(file) && !(file.delete() && part.renameTo(file))) {
        throw new BabilException(Code.IO, "cannot give the subtitles their name: " + file);
      }
      return true;
    } catch (IOException error) {
      throw new BabilException(Code.IO, "cannot write " + part + ": " + error.getMessage());
    } finally {
      // Does nothing where it has its name now.
      part.delete();
    }
  }
}
