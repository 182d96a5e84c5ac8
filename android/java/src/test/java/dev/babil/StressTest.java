package dev.babil;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.File;
import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Paths;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Queue;
import java.util.Random;
import java.util.Set;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.CyclicBarrier;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.atomic.AtomicReferenceArray;
import java.util.function.Supplier;
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

  private static final TranscriberOptions GREEDY = TranscriberOptions.builder().beam(1).build();

  /** Subtitles to translate. */
  private static File film;

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

    /** What is in it now, open or closed. */
    List<T> all() {
      List<T> all = new ArrayList<>();
      for (int i = 0; i < items.length(); i++) {
        if (items.get(i) != null) {
          all.add(items.get(i));
        }
      }
      return all;
    }

    void close() throws Exception {
      for (T item : all()) {
        item.close();
      }
    }
  }

  /** Twice the same: the second time needs neither more memory nor more references than the first. */
  @Test
  void callsInAnyOrder() throws Exception {
    Models.chatModel();
    film = new File(Models.temporary("film"), "film.srt");
    Files.write(film.toPath(), SubtitlesTest.SRT.getBytes(StandardCharsets.UTF_8));
    callsOfAllThreads(CALLS / 2);
    long memory = memory();
    long references = globalReferences();
    callsOfAllThreads(CALLS / 2);
    long more = memory() - memory;
    // An emulator keeps in the same memory what it has made of the instructions.
    boolean emulated = System.getenv("BABIL_JAVA") != null;
    assertTrue(emulated || more < 32 << 10, more + " kilobytes more");
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
    Everything all = new Everything();
    AtomicLong chunks = new AtomicLong();
    AtomicLong refused = new AtomicLong();
    inParallel(
        THREADS,
        number -> {
          Random random = new Random(number);
          for (int i = 0; i < calls / THREADS; i++) {
            try {
              call(random, all, chunks);
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
    // How much was read in between depends on the speed of the machine; that whatever is left can be read to its end does not.
    assertTrue(chunks.get() > 0, "nothing was read");
    assertTrue(refused.get() > calls / 100, refused + " refused");
    all.readToTheEnd();
    all.close();
    try (Engine engine = Models.translator()) {
      assertEquals("Où est la gare ?", engine.translator("en", "fr").translate("Where is the station?"));
    }
  }

  /** What all threads have. */
  private static final class Everything {
    final Pool<Engine> engines = new Pool<>(4);
    final Pool<Chat> chats = new Pool<>(6);
    final Pool<Generation> generations = new Pool<>(12);
    final Pool<Transcript> transcripts = new Pool<>(2);
    final Pool<LiveCaptions> captions = new Pool<>(2);
    final Pool<Subtitles> subtitles = new Pool<>(3);

    /** Nobody else is there any more, because of whom it could be refused. */
    void readToTheEnd() {
      generations.all().forEach(generation -> readToTheEnd(generation::next));
      transcripts.all().forEach(transcript -> readToTheEnd(transcript::next));
      subtitles.all().forEach(file -> readToTheEnd(file::next));
      for (LiveCaptions live : captions.all()) {
        readToTheEnd(
            () -> {
              live.endOfSound();
              return live.next();
            });
      }
    }

    private static void readToTheEnd(Supplier<?> next) {
      try {
        while (next.get() != null) {
          // More.
        }
        assertNull(next.get(), "nothing comes after the end");
      } catch (IllegalStateException closed) {
        // A thread has closed it.
      }
    }

    void close() throws Exception {
      for (Pool<?> pool : new Pool<?>[] {generations, transcripts, captions, subtitles, chats, engines}) {
        pool.close();
      }
    }
  }

  private static void call(Random random, Everything all, AtomicLong chunks) throws Exception {
    Engine engine = all.engines.any(random);
    Chat chat = all.chats.any(random);
    Generation generation = all.generations.any(random);
    int choice = random.nextInt(1200);
    if (engine == null || choice < 4) {
      int kind = random.nextInt(3);
      all.engines.put(random, kind == 0 ? Models.translator() : kind == 1 ? Models.language() : Models.speech());
    } else if (choice < 6) {
      engine.close();
    } else if (choice >= 1000) {
      callOfSound(random, all, engine, chunks);
    } else if (chat == null || choice < 60) {
      all.chats.put(random, engine.chat(ChatOptions.builder().seed(choice).maxTokens(1 + choice).build()));
    } else if (choice < 80) {
      chat.close();
    } else if (generation == null || choice < 180) {
      all.generations.put(random, chat.start("who are you"));
    } else if (choice < 280) {
      all.generations.put(random, engine.translator("en", "fr").start("Where is the station? Hello."));
    } else if (choice < 290) {
      engine.translator("fr", "en").translate("Bonjour.");
    } else if (choice < 320) {
      chat.history();
    } else if (choice < 340) {
      chat.clear();
    } else if (choice < 480) {
      end(random, generation, generation::next);
    } else if (choice < 540) {
      generation.stats();
    } else if (choice < 560) {
      engine.pairs();
    } else if (generation.next() != null) {
      chunks.incrementAndGet();
    }
  }

  /** A transcript, captions of sound that any thread pushes, or subtitles: begun, read, pushed to, ended. */
  private static void callOfSound(Random random, Everything all, Engine engine, AtomicLong chunks) throws Exception {
    Transcript transcript = all.transcripts.any(random);
    LiveCaptions captions = all.captions.any(random);
    Subtitles subtitles = all.subtitles.any(random);
    int choice = random.nextInt(200);
    if (transcript == null || choice < 6) {
      all.transcripts.put(random, engine.transcriber(GREEDY).start(Models.recording()));
    } else if (captions == null || choice < 12) {
      all.captions.put(random, engine.transcriber(GREEDY).listen(LiveCaptions.WhenFull.DROP_OLDEST));
    } else if (subtitles == null || choice < 18) {
      boolean translates = random.nextBoolean();
      all.subtitles.put(
          random,
          translates
              ? engine.translator("en", "fr").subtitles(film)
              : engine.transcriber(GREEDY).subtitles(Models.recording()));
    } else if (choice < 34) {
      end(random, transcript, transcript::next);
    } else if (choice < 42) {
      end(random, subtitles, subtitles::next);
    } else if (choice < 50) {
      end(random, captions, captions::next);
    } else if (choice < 60) {
      // Nobody may push any more: who reads them waits for nobody.
      captions.endOfSound();
      captions.next();
    } else if (choice < 140) {
      captions.push(new float[1600], 0, 1600);
    } else if (choice < 150) {
      subtitles.finish();
    } else if (choice < 175) {
      chunks.addAndGet(transcript.next() == null ? 0 : 1);
    } else {
      chunks.addAndGet(subtitles.next() == null ? 0 : 1);
    }
  }

  private static void end(Random random, Pulled pulled, Supplier<?> next) {
    if (random.nextBoolean()) {
      pulled.cancel();
      assertNull(next.get(), "nothing comes after a cancellation");
    } else {
      pulled.close();
    }
  }

  /**
   * A generation that two threads read, and others cancel and close with its chat, all at the same time. Whoever sees its end
   * sees the same end, then and for ever.
   */
  @Test
  void cancellationAndClosingRace() throws Exception {
    try (Engine translators = Models.translator();
        Engine languages = Models.language()) {
      Translator translator = translators.translator("en", "fr");
      Race[] current = new Race[1];
      int[] races = new int[2];
      CyclicBarrier start =
          new CyclicBarrier(
              5,
              () -> {
                boolean translates = races[0] % 2 == 0;
                // In every third race nobody closes, so that the end can be asked for afterwards.
                boolean closes = races[0] % 3 != 0;
                // Short, so that some come to their own end before they are cancelled.
                Chat chat = languages.chat(ChatOptions.builder().temperature(0).maxTokens(races[0] % 12 + 1).build());
                Generation generation = translates ? translator.start("Hello.") : chat.start("who are you");
                current[0] = new Race(chat, generation, closes);
                races[0]++;
              });
      CyclicBarrier end =
          new CyclicBarrier(
              5,
              () -> {
                current[0].check();
                races[1]++;
              });
      inParallel(
          5,
          number -> {
            Random random = new Random(number);
            try {
              for (int race = 0; race < RACES; race++) {
                start.await();
                current[0].run(number, random);
                end.await();
              }
            } catch (Exception error) {
              throw new AssertionError(error);
            }
          });
      assertEquals(RACES, races[1]);
    }
  }

  private static final class Race {
    /** What is seen of a generation that was closed. */
    private static final Object CLOSED = "closed";

    private final Chat chat;
    private final Generation generation;
    private final boolean closes;
    private final Queue<Object> ends = new ConcurrentLinkedQueue<>();

    Race(Chat chat, Generation generation, boolean closes) {
      this.chat = chat;
      this.generation = generation;
      this.closes = closes;
    }

    /** What thread {@code number} does. */
    void run(int number, Random random) {
      for (int spin = random.nextInt(number < 2 ? 100 : 20_000); spin > 0; spin--) {
        Thread.onSpinWait();
      }
      if (number < 2) {
        ends.add(read());
      } else if (number == 2) {
        outcome(
            () -> {
              generation.cancel();
              return null;
            });
      } else if (number == 3 && closes) {
        generation.close();
      } else if (number == 4 && closes) {
        chat.close();
      }
    }

    /** Reads to the end, and asks for it. */
    private Object read() {
      return outcome(
          () -> {
            while (generation.next() != null) {
              // More.
            }
            assertNull(generation.next());
            return generation.finish();
          });
    }

    private static Object outcome(Supplier<?> call) {
      try {
        return call.get();
      } catch (IllegalStateException closed) {
        return CLOSED;
      } catch (BabilException error) {
        return error.code();
      }
    }

    /** Of two that have read, both have seen one end, or that it was closed; and the end has not become another one. */
    void check() {
      Set<Object> seen = new HashSet<>(ends);
      assertEquals(2, ends.size());
      if (!closes) {
        seen.add(read());
        assertFalse(seen.contains(CLOSED), "nobody has closed it");
      }
      seen.remove(CLOSED);
      assertTrue(seen.size() <= 1, "one end, but " + seen);
      for (Object end : seen) {
        assertTrue(end instanceof Finish, "a failure: " + end);
      }
      generation.close();
      chat.close();
      assertEquals(CLOSED, read());
    }
  }
}
