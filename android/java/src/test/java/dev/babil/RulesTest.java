package dev.babil;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.File;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.Paths;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.function.Executable;

/** What the API promises, rule by rule. */
class RulesTest extends GivesBack {
  private static final String ENGLISH = "Where is the station? I would like two coffees, please.\nThank you.";

  private static List<Chunk> all(Generation generation) {
    List<Chunk> chunks = new ArrayList<>();
    for (Chunk chunk; (chunk = generation.next()) != null; ) {
      chunks.add(chunk);
    }
    return chunks;
  }

  private static String join(List<Chunk> chunks) {
    StringBuilder text = new StringBuilder();
    chunks.forEach(text::append);
    return text.toString();
  }

  private static BabilException fails(Code code, Executable call) {
    BabilException error = assertThrows(BabilException.class, call);
    assertEquals(code, error.code(), error.getMessage());
    assertFalse(error.getMessage().isEmpty());
    return error;
  }

  private static <T> T in(ExecutorService pool, Callable<T> call) throws Exception {
    return pool.submit(call).get();
  }

  // 1. Pull.

  @Test
  void chunksAreTheTextOfTheWhole() {
    try (Engine engine = Models.translator()) {
      Translator translator = engine.translator("en", "fr");
      String whole = translator.translate(ENGLISH);
      assertTrue(whole.contains("gare") && whole.contains("\n"), whole);
      try (Generation generation = translator.start(ENGLISH)) {
        List<Chunk> chunks = all(generation);
        assertTrue(chunks.size() > 5, chunks.toString());
        assertEquals(whole, join(chunks));
        assertNull(generation.next(), "the end stays");
        Stats stats = generation.stats();
        assertEquals(Finish.COMPLETE, stats.finish());
        assertTrue(stats.tokensRead() > 10 && stats.tokensWritten() > 10);
        assertTrue(stats.firstChunkSeconds() > 0 && stats.tokensPerSecond() > 0);
      }
    }
  }

  @Test
  void anAnswerIsPulledAndCounted() {
    try (Engine engine = Models.language();
        Chat chat = engine.chat(ChatOptions.builder().temperature(0).maxTokens(20).build())) {
      String first;
      try (Generation generation = chat.start("who are you")) {
        first = join(all(generation));
        Stats stats = generation.stats();
        assertEquals(Finish.LENGTH, stats.finish());
        assertEquals(20, stats.tokensWritten());
        assertTrue(stats.tokensRead() > 5);
        assertEquals(0, stats.tokensReused());
      }
      try (Generation generation = chat.start("and now")) {
        all(generation);
        assertTrue(generation.stats().tokensReused() > 5, "the conversation is remembered");
      }
      chat.clear();
      assertEquals(first, chat.say("who are you"), "the same seed and conversation");
    }
  }

  // 2. Handles.

  @Test
  void whatIsClosedIsAnIllegalStateAndNeverMore() {
    Engine engine = Models.translator();
    Translator translator = engine.translator("en", "fr");
    Generation generation = translator.start("Hello.");
    generation.close();
    assertThrows(IllegalStateException.class, generation::next);
    assertThrows(IllegalStateException.class, generation::cancel);
    assertThrows(IllegalStateException.class, generation::stats);
    engine.close();
    assertThrows(IllegalStateException.class, () -> translator.translate("Hello."));
    assertThrows(IllegalStateException.class, () -> translator.start("Hello."));
    assertThrows(IllegalStateException.class, engine::pairs);
    assertThrows(IllegalStateException.class, () -> engine.translator("en", "fr"));
    assertThrows(IllegalStateException.class, engine::chat);
    Engine language = Models.language();
    Chat chat = language.chat();
    language.close();
    assertThrows(IllegalStateException.class, () -> chat.start("Hello."));
    assertThrows(IllegalStateException.class, chat::history);
    assertThrows(IllegalStateException.class, chat::clear);
  }

  @Test
  void numbersThatAreNoHandlesAreNotBelieved() {
    try (Engine engine = Models.translator()) {
      long handle = Native.translate(openHandle(engine), text("en"), text("fr"), text("Hello."), true);
      List<Long> numbers = new ArrayList<>(Arrays.asList(0L, 1L, -1L, Long.MIN_VALUE, Long.MAX_VALUE, 1L << 32));
      for (int bit = 0; bit < 64; bit++) {
        numbers.add(handle ^ (1L << bit));
      }
      numbers.remove(openHandle(engine));
      for (long number : numbers) {
        assertThrows(IllegalStateException.class, () -> Native.next(number));
        assertThrows(IllegalStateException.class, () -> Native.kind(number));
        assertThrows(IllegalStateException.class, () -> Native.history(number));
        Native.close(number);
      }
      assertThrows(IllegalStateException.class, () -> Native.next(openHandle(engine)), "another kind of object");
      assertThrows(IllegalStateException.class, () -> Native.pairs(handle), "another kind of object");
      assertNotNull(Native.next(handle), "it lives");
      Native.close(handle);
    }
  }

  private static byte[] text(String text) {
    return Text.optional(text);
  }

  private static long openHandle(Engine engine) {
    try {
      java.lang.reflect.Field field = Engine.class.getDeclaredField("handle");
      field.setAccessible(true);
      return field.getLong(engine);
    } catch (ReflectiveOperationException error) {
      throw new AssertionError(error);
    }
  }

  // 3. and 4. One end; cancellation.

  @Test
  void nothingComesAfterACancellation() {
    try (Engine engine = Models.language();
        Chat chat = Models.chat(engine)) {
      try (Generation generation = chat.start("tell me a story")) {
        assertNotNull(generation.next());
        assertThrows(IllegalStateException.class, generation::stats, "it has not ended");
        generation.cancel();
        assertNull(generation.next());
        generation.cancel();
        assertNull(generation.next());
        Stats stats = generation.stats();
        assertEquals(Finish.CANCELLED, stats.finish());
        assertTrue(stats.tokensWritten() > 0);
        assertEquals(stats.tokensWritten(), generation.stats().tokensWritten());
      }
      assertEquals(2, chat.history().size(), "the question, and what came of the answer");
    }
  }

  @Test
  void aPromptIsCancelledWhileItIsRead() {
    try (Engine engine = Engine.open(ModelSource.file(Models.chatModel()), Models.options().context(4096).build());
        Chat chat = Models.chat(engine)) {
      String prompt = String.join("", Collections.nCopies(1500, "who are you "));
      try (Generation generation = chat.start(prompt)) {
        generation.cancel();
        assertNull(generation.next());
        Stats stats = generation.stats();
        assertEquals(Finish.CANCELLED, stats.finish());
        assertEquals(0, stats.tokensWritten());
      }
      // What the model has read of it does no harm.
      chat.clear();
      String after = chat(engine, "who are you");
      try (Chat fresh = engine.chat(ChatOptions.builder().temperature(0).maxTokens(20).build())) {
        assertEquals(after, fresh.say("who are you"));
      }
    }
  }

  private static String chat(Engine engine, String message) {
    try (Chat chat = engine.chat(ChatOptions.builder().temperature(0).maxTokens(20).build())) {
      return chat.say(message);
    }
  }

  @Test
  void whoWaitsIsWokenByCancellationAndByClosing() throws Exception {
    ExecutorService pool = Executors.newCachedThreadPool();
    try (Engine engine = Models.language()) {
      for (boolean close : new boolean[] {false, true}) {
        Chat chat = Models.chat(engine);
        Generation generation = chat.start("tell me a story");
        CountDownLatch reading = new CountDownLatch(1);
        Future<Boolean> closed =
            pool.submit(
                () -> {
                  try {
                    while (generation.next() != null) {
                      reading.countDown();
                    }
                    return false;
                  } catch (IllegalStateException error) {
                    return true;
                  }
                });
        reading.await();
        if (close) {
          generation.close();
        } else {
          generation.cancel();
        }
        // Who was waiting when it was closed hears of the end, who comes later that it is closed.
        assertTrue(close || !closed.get());
        closed.get();
        generation.close();
        chat.close();
      }
    } finally {
      pool.shutdown();
    }
  }

  // 5. Closing.

  @Test
  void closingIsIdempotentFromAnyThreadAndClosesAll() throws Exception {
    ExecutorService pool = Executors.newFixedThreadPool(4);
    Engine engine = Models.language();
    List<Generation> generations = new ArrayList<>();
    List<Chat> chats = new ArrayList<>();
    for (int i = 0; i < 3; i++) {
      Chat chat = Models.chat(engine);
      chats.add(chat);
      generations.add(chat.start("tell me a story"));
      assertNotNull(generations.get(i).next());
    }
    assertEquals(open + 7, Testing.openHandles());
    List<Future<?>> closing = new ArrayList<>();
    for (int i = 0; i < 4; i++) {
      closing.add(pool.submit(engine::close));
    }
    for (Future<?> close : closing) {
      close.get();
    }
    assertEquals(open, Testing.openHandles());
    generations.forEach(generation -> assertThrows(IllegalStateException.class, generation::next));
    generations.forEach(Generation::close);
    chats.forEach(Chat::close);
    engine.close();
    pool.shutdown();
  }

  @Test
  void aTranslationThatSomebodyWaitsForEndsWhenItsEngineIsClosed() throws Exception {
    ExecutorService pool = Executors.newSingleThreadExecutor();
    Engine engine = Models.translator();
    Translator translator = engine.translator("en", "fr");
    String text = String.join("\n", Collections.nCopies(20000, ENGLISH));
    long before = Testing.begun();
    Future<String> translation = pool.submit(() -> translator.translate(text));
    while (Testing.begun() == before) {
      Thread.yield();
    }
    engine.close();
    ExecutionException error = assertThrows(ExecutionException.class, translation::get);
    // Closed while it was begun, or while it ran.
    if (!(error.getCause() instanceof IllegalStateException)) {
      assertEquals(Code.CANCELLED, ((BabilException) error.getCause()).code());
    }
    pool.shutdown();
  }

  // 6. Errors.

  @Test
  void aPanicInACallIsAnException() {
    BabilException error = fails(Code.INTERNAL, Testing::panic);
    assertTrue(error.getMessage().endsWith("on purpose: 😀"), error.getMessage());
    assertFalse(error.retryable());
  }

  @Test
  void aPanicInAComputationIsAnExceptionAndTheEngineGoesOn() {
    try (Engine engine = Models.translator()) {
      Translator translator = engine.translator("en", "fr");
      String expected = translator.translate("Hello.");
      Testing.panicNext();
      try (Generation generation = translator.start("Hello.")) {
        BabilException first = fails(Code.INTERNAL, generation::next);
        assertTrue(first.getMessage().contains("on purpose, in a computation: 😀"), first.getMessage());
        fails(Code.INTERNAL, generation::next);
        fails(Code.INTERNAL, generation::stats);
      }
      assertEquals(expected, translator.translate("Hello."));
    }
    try (Engine engine = Models.language();
        Chat chat = Models.chat(engine)) {
      Testing.panicNext();
      fails(Code.INTERNAL, () -> chat.say("Hello."));
      BabilException broken = fails(Code.INTERNAL, () -> chat.say("Hello."));
      assertTrue(broken.getMessage().contains("begin another one"), broken.getMessage());
      assertFalse(chat(engine, "who are you").isEmpty(), "other conversations go on");
    }
  }

  @Test
  void badInputIsATypedException() throws IOException {
    fails(Code.BAD_ARGUMENT, () -> Engine.open(null));
    fails(Code.BAD_ARGUMENT, () -> Engine.open(ModelSource.bundled(), null));
    fails(Code.BAD_ARGUMENT, () -> ModelSource.file((String) null));
    fails(Code.BAD_ARGUMENT, () -> EngineOptions.builder().threads(0));
    fails(Code.BAD_ARGUMENT, () -> EngineOptions.builder().memoryLimit(-1));
    fails(Code.BAD_ARGUMENT, () -> EngineOptions.builder().device(null));
    fails(Code.BAD_ARGUMENT, () -> Native.open(1, null, null, -1, 0, 0, 0, 0, 0, null, 0));
    fails(Code.BAD_ARGUMENT, () -> Native.open(1, new byte[] {(byte) 0xff}, null, -1, 0, 0, 0, 0, 0, null, 0));
    File nothing = new File(Models.temporary("nothing"), "model 😀.gguf");
    BabilException missing = fails(Code.NOT_FOUND, () -> Engine.open(ModelSource.file(nothing)));
    assertTrue(missing.getMessage().contains(nothing.getPath()), missing.getMessage());
    Files.write(nothing.toPath(), "GGUF, but not really".getBytes());
    fails(Code.BAD_MODEL, () -> Engine.open(ModelSource.file(nothing)));
    Files.write(nothing.toPath(), "no model".getBytes());
    fails(Code.BAD_MODEL, () -> Engine.open(ModelSource.file(nothing)));
    assertTrue(nothing.delete());
    fails(Code.BAD_MODEL, () -> Engine.open(ModelSource.file(nothing.getParentFile())));
    try (Engine engine = Models.translator()) {
      assertEquals(Engine.Kind.TRANSLATOR, engine.kind());
      BabilException pair = fails(Code.BAD_ARGUMENT, () -> engine.translator("en", "xx"));
      assertTrue(pair.getMessage().contains("en -> fr"), pair.getMessage());
      fails(Code.BAD_ARGUMENT, () -> engine.translator(null, "fr"));
      fails(Code.BAD_ARGUMENT, () -> engine.translator("en", "fr").translate(null));
      fails(Code.UNSUPPORTED, engine::chat);
      fails(Code.UNSUPPORTED, engine::transcriber);
      assertEquals("[en -> fr, fr -> en]", engine.pairs().toString());
    }
    try (Engine engine = Models.language();
        Chat chat = Models.chat(engine)) {
      fails(Code.UNSUPPORTED, () -> engine.translator("en", "fr"));
      fails(Code.BAD_ARGUMENT, () -> chat.start(null));
      fails(Code.BAD_ARGUMENT, () -> engine.chat(ChatOptions.builder().temperature(Float.NaN).build()).say("x"));
      fails(Code.UNSUPPORTED, () -> engine.chat(ChatOptions.builder().think(true).build()));
      try (Generation generation = chat.start("tell me a story")) {
        assertTrue(fails(Code.BUSY, () -> chat.start("and now")).retryable());
        fails(Code.BUSY, chat::history);
        generation.cancel();
        assertEquals(2, chat.history().size(), "it is free again");
      }
    }
    File plain = Models.root("models/parity/lm/llama/model.gguf");
    try (Engine engine = Engine.open(ModelSource.file(plain), Models.options().build())) {
      fails(Code.UNSUPPORTED, engine::chat);
    }
  }

  // 7. Text.

  @Test
  void textCrossesIntactBothWays() {
    String[] texts = {
      "", "a\0b\0", "😀", "👨‍👩‍👧‍👦 🇫🇷", "𝒳𐍈\uFFFF", "日本語 é e\u0301 \u202E", "\uD83D\uDE00".repeat(300),
    };
    try (Engine engine = Engine.open(ModelSource.file(Models.chatModel()), Models.options().context(4096).build())) {
      for (String text : texts) {
        ChatOptions options = ChatOptions.builder().system(text + "!").temperature(0).maxTokens(1).build();
        try (Chat chat = engine.chat(options)) {
          chat.say(text);
          List<Message> history = chat.history();
          assertEquals("system: " + text + "!", history.get(0).toString());
          assertEquals("user: " + text, history.get(1).toString());
        }
      }
      // Half of a character is none: it becomes U+FFFD, as everywhere on the web.
      try (Chat chat = engine.chat(ChatOptions.builder().maxTokens(1).build())) {
        chat.say("a\uD83Db\uDE00");
        assertEquals("user: a\uFFFDb\uFFFD", chat.history().get(0).toString());
      }
    }
  }

  @Test
  void aTranslationKeepsWhatIsNoSentence() {
    try (Engine engine = Models.translator()) {
      Translator translator = engine.translator("en", "fr");
      String hello = translator.translate("Hello.");
      assertEquals("", translator.translate(""));
      assertEquals("\0", translator.translate("\0"));
      assertEquals(hello + "\0\n\n" + hello + "\n\0", translator.translate("Hello.\0\n\nHello.\n\0"));
      assertNotEquals("", translator.translate("I 😀 you."));
    }
  }

  @Test
  void chunksHoldWholeCharacters() {
    try (Engine engine = Models.language()) {
      for (int seed = 0; seed < 20; seed++) {
        ChatOptions options = ChatOptions.builder().temperature(3).topK(0).topP(1).seed(seed).maxTokens(100).build();
        try (Chat chat = engine.chat(options);
            Generation generation = chat.start("who are you")) {
          for (Chunk chunk : all(generation)) {
            String text = chunk.text();
            assertFalse(text.isEmpty());
            assertFalse(Character.isLowSurrogate(text.charAt(0)), text);
            assertFalse(Character.isHighSurrogate(text.charAt(text.length() - 1)), text);
          }
        }
      }
    }
  }

  // 8. Memory.

  @Test
  void memoryIsPlannedAndLimited() {
    ModelSource[] sources = {
      ModelSource.bundled(),
      ModelSource.file(Models.chatModel()),
      ModelSource.file(Models.root("models/recipes/speech-en-tiny/model")),
    };
    for (ModelSource source : sources) {
      MemoryPlan plan = Engine.plan(source, EngineOptions.builder().context(300).build());
      assertTrue(plan.weights() > 10_000 && plan.working() > 0, source.toString());
      assertEquals(plan.weights() + plan.working(), plan.total());
      assertTrue(plan.available() > 0);
      EngineOptions.Builder options = Models.options().context(300);
      fails(Code.TOO_LARGE, () -> Engine.open(source, options.memoryLimit(plan.total() - 1).build()));
      Engine.open(source, options.memoryLimit(plan.total()).build()).close();
    }
    assertEquals(300, Engine.plan(sources[1], EngineOptions.builder().context(300).build()).context());
  }

  // 9. Files that are open.

  @Test
  void modelsAreMappedFromAPartOfAnOpenFile() throws IOException {
    byte[] model = Files.readAllBytes(Models.chatModel().toPath());
    byte[] speech = Files.readAllBytes(Models.root("models/parity/speech/tiny/model.bin").toPath());
    File asset = new File(Models.temporary("assets"), "app.apk");
    String expected;
    try (Engine engine = Models.language()) {
      expected = chat(engine, "who are you");
    }
    // Any offset: packages align to 4 bytes, or do not.
    for (int before : new int[] {0, 4, 4097}) {
      try (RandomAccessFile file = new RandomAccessFile(asset, "rw")) {
        file.seek(before);
        file.write(model);
        file.write(speech);
        int descriptor = descriptorOf(asset);
        ModelSource source = ModelSource.descriptor(descriptor, before, model.length, "a model");
        MemoryPlan plan = Engine.plan(source, EngineOptions.DEFAULT);
        assertTrue(plan.weights() > 10_000);
        // It is found to be a speech model; one of a random vocabulary, which only whole folders can have.
        ModelSource heard = ModelSource.descriptor(descriptor, before + model.length, speech.length, "speech");
        BabilException random = assertThrows(BabilException.class, () -> Engine.open(heard));
        assertTrue(random.getMessage().startsWith("speech: 529 tokens: Whisper has"), random.getMessage());
        Engine engine = Engine.open(source, Models.options().context(512).build());
        file.close();
        assertEquals(expected, chat(engine, "who are you"), "the descriptor is closed, the weights are mapped");
        engine.close();
        fails(Code.IO, () -> Engine.open(source));
      }
    }
    try (RandomAccessFile file = new RandomAccessFile(asset, "r")) {
      int descriptor = descriptorOf(asset);
      long[][] parts = {{0, file.length() + 1}, {file.length(), 1}, {Long.MAX_VALUE, Long.MAX_VALUE}, {1, 0}};
      for (long[] part : parts) {
        fails(Code.BAD_MODEL, () -> Engine.open(ModelSource.descriptor(descriptor, part[0], part[1], "a part")));
      }
      fails(Code.BAD_ARGUMENT, () -> Engine.open(ModelSource.descriptor(descriptor, -1, 10, "a part")));
      fails(Code.BAD_ARGUMENT, () -> Engine.open(ModelSource.descriptor(-1, 0, 10, "a part")));
      fails(Code.IO, () -> Engine.open(ModelSource.descriptor(1 << 20, 0, 10, "a part")));
    }
  }

  /** The number of the descriptor that this process has of a file: Java keeps it to itself. */
  static int descriptorOf(File file) throws IOException {
    try (DirectoryStream<Path> descriptors = Files.newDirectoryStream(Paths.get("/proc/self/fd"))) {
      for (Path descriptor : descriptors) {
        try {
          if (Files.isSameFile(descriptor, file.toPath())) {
            return Integer.parseInt(descriptor.getFileName().toString());
          }
        } catch (IOException error) {
          // It is a pipe, or was closed meanwhile.
        }
      }
    }
    throw new AssertionError("not open: " + file);
  }

  // 10. Independence.

  @Test
  void sessionsOfOneEngineAreIndependent() throws Exception {
    ExecutorService pool = Executors.newFixedThreadPool(6);
    String[] messages = {"who are you", "hello there", "and me"};
    try (Engine engine = Models.language();
        Engine bundled = Models.translator()) {
      Translator translator = bundled.translator("en", "fr");
      List<String> alone = new ArrayList<>();
      for (String message : messages) {
        alone.add(chat(engine, message));
      }
      String translated = translator.translate(ENGLISH);
      List<Future<String>> together = new ArrayList<>();
      for (int i = 0; i < 12; i++) {
        String message = messages[i % messages.length];
        together.add(pool.submit(() -> chat(engine, message)));
        together.add(pool.submit(() -> translator.translate(ENGLISH)));
      }
      for (int i = 0; i < 12; i++) {
        assertEquals(alone.get(i % messages.length), together.get(2 * i).get());
        assertEquals(translated, together.get(2 * i + 1).get());
      }
      // Closing one does nothing to another.
      Chat closed = Models.chat(engine);
      try (Chat chat = Models.chat(engine);
          Generation generation = chat.start(messages[0])) {
        closed.start(messages[1]);
        assertNotNull(generation.next());
        in(
            pool,
            () -> {
              closed.close();
              return null;
            });
        assertNotNull(generation.next());
      }
    } finally {
      pool.shutdown();
    }
  }
}
