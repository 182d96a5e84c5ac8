package dev.babil;

/** How to transcribe. */
public final class TranscriberOptions {
  /** In the language that is spoken, which is found out. */
  public static final TranscriberOptions DEFAULT = builder().build();

  final byte[] language;
  final boolean english;
  final int beam;

  private TranscriberOptions(Builder builder) {
    language = Text.optional(builder.language);
    english = builder.english;
    beam = builder.beam;
  }

  /**
   * Options that can be changed.
   *
   * @return a builder with the defaults
   */
  public static Builder builder() {
    return new Builder();
  }

  /** Makes {@link TranscriberOptions}. */
  public static final class Builder {
    private String language;
    private boolean english;
    private int beam = 5;

    private Builder() {}

    /**
     * The language that is spoken; by default it is found out.
     *
     * @param code its code, as in {@code fr}, or null to find it out
     * @return this
     */
    public Builder language(String code) {
      language = code;
      return this;
    }

    /**
     * Whether English is written, whatever is spoken; by default it is not. Models for English alone cannot do so.
     *
     * @param english whether it is
     * @return this
     */
    public Builder toEnglish(boolean english) {
      this.english = english;
      return this;
    }

    /**
     * How many texts are followed at the same time: more is better and slower. By default 5.
     *
     * @param width how many; 1 is the fastest
     * @return this
     */
    public Builder beam(int width) {
      beam = width;
      return this;
    }

    /**
     * The options.
     *
     * @return what was said so far
     */
    public TranscriberOptions build() {
      return new TranscriberOptions(this);
    }
  }
}
