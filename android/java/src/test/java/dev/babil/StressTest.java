package dev.babil;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import java.nio.file.Paths;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.concurrent.CyclicBarrier;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.atomic.AtomicReferenceArray;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import javax.management.ObjectName;
import org.junit.jupiter.api.Test;

/**
 * Calls in any order from many threads, on what is open and on what was closed. {@code BABIL_STRESS_CALLS} and {@code
 * BABIL_STRESS_RACES} are how many; a seed makes each thread's choices, which are not those of the system.
 */
class StressTest extends GivesBack {
  private static final int THREADS = 8;
  private static final int CALLS = number("BABIL_STRESS_CALLS", 4000);
  private static final int RACES = number("BABIL_STRESS_RACES", 200);

  private static int number(String name, int usual) {
    String value = System.getenv(name);
    return value == null ? usual : Integer.parseInt(value);
  }

  private static void inParallel(int threads, java.util.function.IntConsumer work) throws Exception {
    ExecutorService pool = Executors.newFixedThreadPool(threads);
    List<Future<?>> futures = new ArrayList<>();
    for (int i = 0; i < threads; i++) {
      int number = i;
      futures.add(pool.submit(() -> work.accept(number)));
    }
    for (Future<?> future : futures) {
      future.get();
    }
    pool.shutdown();
  }

  /** What threads have opened, for all of them to use; what falls out is closed, or used on by who still has it. */
  private static final class Pool<T extends AutoCloseable> {
    private final AtomicReferenceArray<T> items;

    Pool(int size) {
      items = new AtomicReferenceArray<>(size);
    }

    T any(Random random) {
      return items.get(random.nextInt(items.length()));
    }

    void put(Random random, T item) throws Exception {
      T before = items.getAndSet(random.nextInt(items.length()), item);
      if (before != null) {
        before.close();
      }
    }

    void close() throws Exception {
      for (int i = 0; i < items.length(); i++) {
        if (items.get(i) != null) {
          items.get(i).close();
        }
      }
    }
  }

  /** Twice the same: the second time needs neither more memory nor more references than the first. */
  @Test
  void callsInAnyOrder() throws Exception {
    Models.chatModel();
    callsOfAllThreads(CALLS / 2);
    long memory = memory();
    long references = globalReferences();
    callsOfAllThreads(CALLS / 2);
    long more = memory() - memory;
    assertTrue(more < 32 << 10, more + " kilobytes more");
    long leaked = globalReferences() - references;
    assertTrue(leaked < 16, leaked + " global references more");
  }

  /** Memory of this process that is no file's, in kilobytes. The heap of the JVM has a fixed size: see test.sh. */
  private static long memory() throws IOException {
    for (String line : Files.readAllLines(Paths.get("/proc/self/status"))) {
      if (line.startsWith("RssAnon:")) {
        return Long.parseLong(line.replaceAll("\\D", ""));
      }
    }
    throw new AssertionError("no RssAnon");
  }

  /** References from native code to Java objects, those of the JVM itself included, as it counts them. */
  private static long globalReferences() throws Exception {
    ObjectName diagnostics = new ObjectName("com.sun.management:type=DiagnosticCommand");
    String[] signature = {String[].class.getName()};
    Object threads =
        ManagementFactory.getPlatformMBeanServer()
            .invoke(diagnostics, "threadPrint", new Object[] {new String[0]}, signature);
    Matcher count = Pattern.compile("JNI global refs: (\\d+)").matcher((String) threads);
    assertTrue(count.find());
    return Long.parseLong(count.group(1));
  }

  private static void callsOfAllThreads(int calls) throws Exception {
    Pool<Engine> engines = new Pool<>(3);
    Pool<Chat> chats = new Pool<>(6);
    Pool<Generation> generations = new Pool<>(12);
    AtomicLong chunks = new AtomicLong();
    AtomicLong refused = new AtomicLong();
    inParallel(
        THREADS,
        number -> {
          Random random = new Random(number);
          for (int i = 0; i < calls / THREADS; i++) {
            try {
              call(random, engines, chats, generations, chunks);
            } catch (IllegalStateException closed) {
              refused.incrementAndGet();
            } catch (BabilException error) {
              Code code = error.code();
              assertTrue(code == Code.BUSY || code == Code.CANCELLED || code == Code.UNSUPPORTED, error.getMessage());
              refused.incrementAndGet();
            } catch (Exception error) {
              throw new AssertionError(error);
            }
          }
        });
    generations.close();
    chats.close();
    engines.close();
    assertTrue(chunks.get() > calls / 100, chunks + " chunks");
    assertTrue(refused.get() > calls / 100, refused + " refused");
  }

  private static void call(
      Random random, Pool<Engine> engines, Pool<Chat> chats, Pool<Generation> generations, AtomicLong chunks)
      throws Exception {
    Engine engine = engines.any(random);
    Chat chat = chats.any(random);
    Generation generation = generations.any(random);
    int choice = random.nextInt(1000);
    if (engine == null || choice < 4) {
      engines.put(random, random.nextBoolean() ? Models.translator() : Models.language());
    } else if (choice < 6) {
      engine.close();
    } else if (chat == null || choice < 60) {
      chats.put(random, engine.chat(ChatOptions.builder().seed(choice).maxTokens(1 + choice).build()));
    } else if (choice < 80) {
      chat.close();
    } else if (generation == null || choice < 180) {
      generations.put(random, chat.start("who are you"));
    } else if (choice < 280) {
      generations.put(random, engine.translator("en", "fr").start("Where is the station? Hello."));
    } else if (choice < 290) {
      engine.translator("fr", "en").translate("Bonjour.");
    } else if (choice < 320) {
      chat.history();
    } else if (choice < 340) {
      chat.clear();
    } else if (choice < 420) {
      generation.cancel();
      assertNull(generation.next(), "nothing comes after a cancellation");
    } else if (choice < 480) {
      generation.close();
    } else if (choice < 540) {
      generation.stats();
    } else if (choice < 560) {
      engine.pairs();
    } else if (generation.next() != null) {
      chunks.incrementAndGet();
    }
  }

  /** A generation that is read, cancelled, and closed with its chat and engine, all at the same time. */
  @Test
  void cancellationAndClosingRace() throws Exception {
    try (Engine translators = Models.translator();
        Engine languages = Models.language()) {
      Translator translator = translators.translator("en", "fr");
      Generation[] current = new Generation[1];
      Chat[] chat = new Chat[1];
      AtomicLong ends = new AtomicLong();
      int[] races = new int[1];
      CyclicBarrier end = new CyclicBarrier(4);
      CyclicBarrier start =
          new CyclicBarrier(
              4,
              () -> {
                chat[0] = Models.chat(languages);
                boolean translates = races[0]++ % 2 == 0;
                current[0] = translates ? translator.start("Where is the station?") : chat[0].start("who are you");
              });
      inParallel(
          4,
          number -> {
            Random random = new Random(number);
            try {
              for (int race = 0; race < RACES; race++) {
                start.await();
                Generation generation = current[0];
                Chat conversation = chat[0];
                for (int spin = random.nextInt(2000); spin > 0; spin--) {
                  Thread.onSpinWait();
                }
                if (number == 0) {
                  read(generation);
                  ends.incrementAndGet();
                } else if (number == 1) {
                  quietly(generation::cancel);
                } else if (number == 2) {
                  generation.close();
                } else {
                  conversation.close();
                }
                end.await();
                generation.close();
                conversation.close();
              }
            } catch (Exception error) {
              throw new AssertionError(error);
            }
          });
      assertEquals(RACES, ends.get());
    }
  }

  /** Reads to the end, which comes once: null, or that the generation is closed. */
  private static void read(Generation generation) {
    quietly(
        () -> {
          while (generation.next() != null) {
            // More.
          }
          assertNull(generation.next());
        });
  }

  private static void quietly(Runnable call) {
    try {
      call.run();
    } catch (IllegalStateException closed) {
      // By another thread.
    }
  }
}
