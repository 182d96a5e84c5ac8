package dev.babil;

/** How a conversation is held. */
public final class ChatOptions {
  /** No system prompt, and the sampling of most programs. */
  public static final ChatOptions DEFAULT = builder().build();

  final byte[] system;
  final int maxTokens;
  final float temperature;
  final int topK;
  final float topP;
  final long seed;
  final int think;

  private ChatOptions(Builder builder) {
    system = Text.optional(builder.system);
    maxTokens = builder.maxTokens;
    temperature = builder.temperature;
    topK = builder.topK;
    topP = builder.topP;
    seed = builder.seed;
    think = builder.think;
  }

  /**
   * Options that can be changed.
   *
   * @return a builder with the defaults
   */
  public static Builder builder() {
    return new Builder();
  }

  /** Makes {@link ChatOptions}. */
  public static final class Builder {
    private String system;
    private int maxTokens;
    private float temperature = 0.8f;
    private int topK = 40;
    private float topP = 0.95f;
    private long seed;
    private int think;

    private Builder() {}

    /**
     * What the model is told before the conversation.
     *
     * @param text the text, or null for none
     * @return this
     */
    public Builder system(String text) {
      system = text;
      return this;
    }

    /**
     * The most tokens of an answer; by default what fits into the context.
     *
     * @param tokens how many, at least 1
     * @return this
     * @throws BabilException {@link Code#BAD_ARGUMENT} where it is less than 1
     */
    public Builder maxTokens(int tokens) {
      if (tokens < 1) {
        throw new BabilException(Code.BAD_ARGUMENT, "an answer of " + tokens + " tokens: at least 1");
      }
      maxTokens = tokens;
      return this;
    }

    /**
     * How tokens are drawn.
     *
     * @param temperature 0 takes the most probable token; larger is more surprising. By default 0.8
     * @return this
     */
    public Builder temperature(float temperature) {
      this.temperature = temperature;
      return this;
    }

    /**
     * The number of tokens that are drawn from.
     *
     * @param tokens how many, the most probable ones; 0 is all. By default 40
     * @return this
     */
    public Builder topK(int tokens) {
      topK = tokens;
      return this;
    }

    /**
     * The probability that the tokens which are drawn from have together.
     *
     * @param probability from 0 to 1. By default 0.95
     * @return this
     */
    public Builder topP(float probability) {
      topP = probability;
      return this;
    }

    /**
     * What the draws depend on: the same seed gives the same text.
     *
     * @param seed any number. By default 0
     * @return this
     */
    public Builder seed(long seed) {
      this.seed = seed;
      return this;
    }

    /**
     * Whether the model thinks before it answers; by default it does what it is used to.
     *
     * @param think whether it does
     * @return this
     */
    public Builder think(boolean think) {
      this.think = think ? 1 : -1;
      return this;
    }

    /**
     * The options.
     *
     * @return what was said so far
     */
    public ChatOptions build() {
      return new ChatOptions(this);
    }
  }
}
