package dev.babil;

/** The form of subtitles. */
public final class SubtitleOptions {
  /** A format of files of subtitles. */
  public enum Format {
    /** SubRip, {@code .srt}. */
    SRT,
    /** The format of the web, {@code .vtt}. */
    WEBVTT
  }

  /** The format of the file that is translated, SRT of a recording; two lines of 42 columns. */
  public static final SubtitleOptions DEFAULT = builder().build();

  final int format;
  final int columns;
  final int lines;

  private SubtitleOptions(Builder builder) {
    format = builder.format == null ? 0 : builder.format.ordinal() + 1;
    columns = builder.columns;
    lines = builder.lines;
  }

  /**
   * Options that can be changed.
   *
   * @return a builder with the defaults
   */
  public static Builder builder() {
    return new Builder();
  }

  /** Makes {@link SubtitleOptions}. */
  public static final class Builder {
    private Format format;
    private int columns;
    private int lines;

    private Builder() {}

    private static int within(int number, int least, int most, String what) {
      if (number < least || number > most) {
        throw new BabilException(Code.BAD_ARGUMENT, number + " " + what + " of subtitles: " + least + " to " + most);
      }
      return number;
    }

    /**
     * The format of the file; by default that of the file that is translated, and SRT of a recording.
     *
     * @param format the format, or null for the default
     * @return this
     */
    public Builder format(Format format) {
      this.format = format;
      return this;
    }

    /**
     * The width of a line, at most; full-width characters take two columns. By default 42.
     *
     * @param columns how many, from 10 to 1000
     * @return this
     * @throws BabilException {@link Code#BAD_ARGUMENT} for another number
     */
    public Builder columns(int columns) {
      this.columns = within(columns, 10, 1000, "columns");
      return this;
    }

    /**
     * The lines of a cue, at most. By default 2.
     *
     * @param lines how many, from 1 to 10
     * @return this
     * @throws BabilException {@link Code#BAD_ARGUMENT} for another number
     */
    public Builder lines(int lines) {
      this.lines = within(lines, 1, 10, "lines");
      return this;
    }

    /**
     * The options.
     *
     * @return what was said so far
     */
    public SubtitleOptions build() {
      return new SubtitleOptions(this);
    }
  }
}
