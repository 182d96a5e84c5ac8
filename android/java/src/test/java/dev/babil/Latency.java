package dev.babil;

import java.io.File;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/**
 * How long {@code cancel} and {@code close} take while a prompt is read and while text is written, with as much other work
 * as the machine has cores. Prints milliseconds, median and worst; it is no test. Arguments: a GGUF file with a chat
 * template (default: the small random one), and how often.
 */
final class Latency {
  private static final int MOST_READ = 5;

  private Latency() {}

  public static void main(String[] arguments) {
    File model = arguments.length > 0 ? new File(arguments[0]) : Models.chatModel();
    int times = arguments.length > 1 ? Integer.parseInt(arguments[1]) : 100;
    int others = Runtime.getRuntime().availableProcessors();
    EngineOptions options = Models.options().context(4096).build();
    StringBuilder prompt = new StringBuilder();
    while (prompt.length() < 6000) {
      prompt.append("who are you ");
    }
    try (Engine engine = Engine.open(ModelSource.file(model), options)) {
      List<Thread> load = new ArrayList<>();
      for (int i = 0; i < others; i++) {
        Thread thread = new Thread(() -> talk(engine));
        thread.start();
        load.add(thread);
      }
      System.out.printf("%s, %d conversations beside it, %d times%n", model.getName(), others, times);
      measure(engine, "prompt", prompt.toString(), 0, times);
      measure(engine, "answer", "who are you", MOST_READ, times);
      System.out.printf("closing the engine: %.1f ms%n", milliseconds(engine::close));
      for (Thread thread : load) {
        try {
          thread.join();
        } catch (InterruptedException error) {
          Thread.currentThread().interrupt();
        }
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

  private static void measure(Engine engine, String what, String message, int chunks, int times) {
    double[] cancel = new double[times];
    double[] stopped = new double[times];
    double[] close = new double[times];
    for (int i = 0; i < times; i++) {
      try (Chat chat = Models.chat(engine)) {
        Generation cancelled = begin(chat, message, chunks);
        cancel[i] = milliseconds(cancelled::cancel);
        stopped[i] = cancel[i] + milliseconds(cancelled::stats);
        cancelled.close();
        Generation closed = begin(chat, message, chunks);
        close[i] = milliseconds(closed::close);
      }
    }
    print(what + ": cancel returns", cancel);
    print(what + ": nothing runs after cancel", stopped);
    print(what + ": close returns", close);
  }

  private static Generation begin(Chat chat, String message, int chunks) {
    Generation generation = chat.start(message);
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

  private static void print(String what, double[] milliseconds) {
    Arrays.sort(milliseconds);
    int last = milliseconds.length - 1;
    System.out.printf("%-36s median %6.2f ms, worst %6.2f ms%n", what, milliseconds[last / 2], milliseconds[last]);
  }
}
