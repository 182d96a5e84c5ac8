package dev.babil;

import java.io.File;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.function.Supplier;

/**
 * How long {@code cancel} and {@code close} take while a prompt is read, while text is written, translated and heard, with
 * as much other work as the machine has cores. Prints milliseconds, median and worst, beside what is promised; it is no
 * test. Arguments: a GGUF file with a chat template (default: the small random one), and how often.
 */
final class Latency {
  /** Milliseconds after a cancellation in which nothing may run any more, and in which {@code close} has to return. */
  private static final int CANCEL = 100;

  private static final int CLOSE = 250;
  private static final int MOST_READ = 5;

  private static Chat chat;

  private Latency() {}

  public static void main(String[] arguments) throws InterruptedException {
    File model = arguments.length > 0 ? new File(arguments[0]) : Models.chatModel();
    int times = arguments.length > 1 ? Integer.parseInt(arguments[1]) : 100;
    int others = Runtime.getRuntime().availableProcessors();
    EngineOptions options = Models.options().context(4096).build();
    String prompt = String.join(" ", Collections.nCopies(500, "who are you"));
    String text = String.join(" ", Collections.nCopies(500, "Where is the station? I have lost my keys."));
    try (Engine language = Engine.open(ModelSource.file(model), options);
        Engine translators = Models.translator();
        Engine speech = Models.speech()) {
      List<Thread> load = new ArrayList<>();
      for (int i = 0; i < others; i++) {
        Thread thread = new Thread(() -> talk(language));
        thread.start();
        load.add(thread);
      }
      System.out.printf("%s, %d conversations beside it, %d times%n", model.getName(), others, times);
      Translator translator = translators.translator("en", "fr");
      Transcriber transcriber = speech.transcriber(TranscriberOptions.builder().beam(1).build());
      measure("prompt", times, () -> begin(language, prompt, 0));
      measure("answer", times, () -> begin(language, "who are you", MOST_READ));
      measure("translation", times, () -> read(translator.start(text), MOST_READ));
      // In the encoder of the first window: nothing has come yet.
      measure("transcript", times, () -> transcriber.start(Models.recording()));
      print("closing the engine", new double[] {milliseconds(language::close)}, CLOSE);
      for (Thread thread : load) {
        thread.join();
      }
    }
  }

  /** Other work, until the engine is closed. */
  private static void talk(Engine engine) {
    try (Chat chat = Models.chat(engine)) {
      while (true) {
        chat.say("who are you");
      }
    } catch (IllegalStateException | BabilException closed) {
      // That is the end.
    }
  }

  /** Cancels and closes what {@code begin} gives. */
  private static void measure(String what, int times, Supplier<Pulled> begin) {
    double[] cancel = new double[times];
    double[] stopped = new double[times];
    double[] close = new double[times];
    for (int i = 0; i < times; i++) {
      Pulled cancelled = begin.get();
      cancel[i] = milliseconds(cancelled::cancel);
      stopped[i] = cancel[i] + milliseconds(cancelled::finish);
      cancelled.close();
      close[i] = milliseconds(begin.get()::close);
    }
    print(what + ": cancel returns", cancel, CANCEL);
    print(what + ": nothing runs after cancel", stopped, CANCEL);
    print(what + ": close returns", close, CLOSE);
  }

  /** An answer of a conversation of its own, which takes the place of the one before. */
  private static Generation begin(Engine engine, String message, int chunks) {
    if (chat != null) {
      chat.close();
    }
    chat = Models.chat(engine);
    return read(chat.start(message), chunks);
  }

  private static Generation read(Generation generation, int chunks) {
    for (int i = 0; i < chunks; i++) {
      generation.next();
    }
    return generation;
  }

  private static double milliseconds(Runnable work) {
    long start = System.nanoTime();
    work.run();
    return (System.nanoTime() - start) / 1e6;
  }

  private static void print(String what, double[] milliseconds, int promised) {
    Arrays.sort(milliseconds);
    int last = milliseconds.length - 1;
    System.out.printf(
        "%-40s median %6.2f ms, worst %6.2f ms of %d%n", what, milliseconds[last / 2], milliseconds[last], promised);
  }
}
