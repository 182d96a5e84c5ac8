package dev.babil;

import java.util.Collections;
import java.util.List;

/**
 * A model, ready to run. Any number of translations, conversations and transcripts can be under way at the same time, on any
 * threads; they share the weights and do not influence one another.
 *
 * <p>{@link #close()} closes whatever was begun on the engine.
 */
public final class Engine implements AutoCloseable {
  /** What a model does. */
  public enum Kind {
    /** Translates text. */
    TRANSLATOR,
    /** Holds conversations. */
    LANGUAGE,
    /** Writes down what is said. */
    SPEECH
  }

  private final long handle;
  private final Kind kind;

  private Engine(long handle) {
    this.handle = handle;
    this.kind = Kind.values()[Native.kind(handle)];
  }

  /**
   * Opens a model. This may take seconds, more where weights are packed for the first time: do not call it on the thread of
   * a user interface.
   *
   * @param source where it is
   * @param options how to run it
   * @return the engine, to be closed
   * @throws BabilException {@link Code#NOT_FOUND}, {@link Code#BAD_MODEL}, {@link Code#UNSUPPORTED}, {@link
   *     Code#TOO_LARGE}, {@link Code#IO} or {@link Code#BAD_ARGUMENT}
   */
  public static Engine open(ModelSource source, EngineOptions options) {
    Text.notNull(source, "the source of a model");
    Text.notNull(options, "the options of an engine");
    Library.load();
    return new Engine(
        Native.open(
            source.kind,
            source.name,
            source.folder,
            source.descriptor,
            source.offset,
            source.length,
            options.threads,
            options.memoryLimit,
            options.context,
            options.packedFolder));
  }

  /**
   * As {@link #open(ModelSource, EngineOptions)}, with {@link EngineOptions#DEFAULT}.
   *
   * @param source where it is
   * @return the engine, to be closed
   */
  public static Engine open(ModelSource source) {
    return open(source, EngineOptions.DEFAULT);
  }

  /**
   * What a model would need, by what its files say. Nothing is loaded.
   *
   * @param source where it is
   * @param options how to run it
   * @return bytes, by part
   * @throws BabilException as {@link #open(ModelSource, EngineOptions)}, but never {@link Code#TOO_LARGE}
   */
  public static MemoryPlan plan(ModelSource source, EngineOptions options) {
    Text.notNull(source, "the source of a model");
    Text.notNull(options, "the options of an engine");
    Library.load();
    byte[] plan =
        Native.plan(
            source.kind,
            source.name,
            source.folder,
            source.descriptor,
            source.offset,
            source.length,
            options.context,
            options.packedFolder);
    return Text.read(plan, MemoryPlan::new);
  }

  /**
   * What the model does.
   *
   * @return its kind
   */
  public Kind kind() {
    return kind;
  }

  /**
   * The directions that a translator knows; none of other models.
   *
   * @return the directions, in the order of the model
   * @throws IllegalStateException the engine is closed
   */
  public List<LanguagePair> pairs() {
    return Collections.unmodifiableList(
        Text.list(Native.pairs(handle), record -> new LanguagePair(record.text(), record.text())));
  }

  /**
   * Translates from one language into another.
   *
   * @param from the source language, ISO 639-1, as in {@code en}
   * @param to the target language
   * @return what translates; it needs not be closed
   * @throws BabilException {@link Code#BAD_ARGUMENT} where the model does not know the direction, {@link
   *     Code#UNSUPPORTED} where it does not translate
   * @throws IllegalStateException the engine is closed
   */
  public Translator translator(String from, String to) {
    byte[] source = Text.of(from, "the source language");
    byte[] target = Text.of(to, "the target language");
    Native.checkPair(handle, source, target);
    return new Translator(handle, source, target);
  }

  /**
   * Begins a conversation.
   *
   * @param options how it is held
   * @return the conversation, to be closed
   * @throws BabilException {@link Code#UNSUPPORTED} where the model holds none, {@link Code#BAD_ARGUMENT}
   * @throws IllegalStateException the engine is closed
   */
  public Chat chat(ChatOptions options) {
    Text.notNull(options, "the options of a conversation");
    return new Chat(
        Native.chat(
            handle,
            options.system,
            options.maxTokens,
            options.temperature,
            options.topK,
            options.topP,
            options.seed,
            options.think));
  }

  /**
   * As {@link #chat(ChatOptions)}, with {@link ChatOptions#DEFAULT}.
   *
   * @return the conversation, to be closed
   */
  public Chat chat() {
    return chat(ChatOptions.DEFAULT);
  }

  /**
   * Writes down what is said.
   *
   * @param options how
   * @return what transcribes; it needs not be closed
   * @throws BabilException {@link Code#UNSUPPORTED} where the model is no speech model
   */
  public Transcriber transcriber(TranscriberOptions options) {
    Text.notNull(options, "the options of a transcriber");
    if (kind != Kind.SPEECH) {
      throw new BabilException(Code.UNSUPPORTED, "this model hears nothing: it is no speech model");
    }
    return new Transcriber(handle, options);
  }

  /**
   * As {@link #transcriber(TranscriberOptions)}, with {@link TranscriberOptions#DEFAULT}.
   *
   * @return what transcribes
   */
  public Transcriber transcriber() {
    return transcriber(TranscriberOptions.DEFAULT);
  }

  /**
   * Ends all that was begun on the engine, and gives its memory back. It waits for what is being computed, one layer of the
   * model at most. From any thread, any number of times.
   */
  @Override
  public void close() {
    Native.close(handle);
  }
}
