package dev.babil;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.File;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.util.Arrays;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.Executors;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/** The store, and a hub on a loopback address that has one model, {@code owner/repo}. */
class StoreTest {
  private static final String COMMIT = "0123456789abcdef0123456789abcdef01234567";
  private static final String MODEL = "owner/repo:Q8_0";

  private final byte[] content = content();
  private final File folder = Models.temporary("store");
  private final CountDownLatch released = new CountDownLatch(1);
  private volatile boolean stalls;
  private HttpServer hub;
  private ModelStore store;

  private static byte[] content() {
    try {
      return Files.readAllBytes(Models.chatModel().toPath());
    } catch (IOException error) {
      throw new AssertionError(error);
    }
  }

  @BeforeEach
  void start() throws IOException {
    hub = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 0);
    hub.setExecutor(Executors.newCachedThreadPool());
    hub.createContext("/api/models/owner/repo", this::list);
    hub.createContext("/owner/repo/resolve/", this::file);
    hub.start();
    store = ModelStore.in(folder).from("http://127.0.0.1:" + hub.getAddress().getPort(), null);
  }

  @AfterEach
  void stop() {
    released.countDown();
    hub.stop(0);
  }

  private void list(HttpExchange exchange) throws IOException {
    String json = "{\"sha\":\"" + COMMIT + "\",\"siblings\":[{\"rfilename\":\"model-Q8_0.gguf\"}]}";
    exchange.sendResponseHeaders(200, json.length());
    exchange.getResponseBody().write(json.getBytes(StandardCharsets.UTF_8));
    exchange.close();
  }

  private void file(HttpExchange exchange) throws IOException {
    exchange.getResponseHeaders().add("ETag", '"' + sha256(content) + '"');
    exchange.getResponseHeaders().add("X-Repo-Commit", COMMIT);
    exchange.getResponseHeaders().add("Accept-Ranges", "bytes");
    if (exchange.getRequestMethod().equals("HEAD")) {
      exchange.getResponseHeaders().add("Content-Length", String.valueOf(content.length));
      exchange.sendResponseHeaders(200, -1);
      exchange.close();
      return;
    }
    String range = exchange.getRequestHeaders().getFirst("Range");
    int start = range == null ? 0 : Integer.parseInt(range.replaceAll("bytes=(\\d+)-.*", "$1"));
    if (range != null) {
      exchange
          .getResponseHeaders()
          .add("Content-Range", "bytes " + start + "-" + (content.length - 1) + "/" + content.length);
    }
    exchange.sendResponseHeaders(range == null ? 200 : 206, content.length - start);
    int half = Math.max(start, stalls ? content.length / 2 : content.length);
    exchange.getResponseBody().write(content, start, half - start);
    if (stalls) {
      exchange.getResponseBody().flush();
      try {
        released.await();
      } catch (InterruptedException error) {
        Thread.currentThread().interrupt();
      }
    }
    exchange.getResponseBody().write(content, half, content.length - half);
    exchange.close();
  }

  private static String sha256(byte[] content) {
    try {
      StringBuilder text = new StringBuilder();
      for (byte b : MessageDigest.getInstance("SHA-256").digest(content)) {
        text.append(String.format("%02x", b));
      }
      return text.toString();
    } catch (java.security.NoSuchAlgorithmException impossible) {
      throw new AssertionError(impossible);
    }
  }

  private static void fails(Code code, org.junit.jupiter.api.function.Executable call) {
    BabilException error = assertThrows(BabilException.class, call);
    assertEquals(code, error.code(), error.getMessage());
  }

  private boolean has(String name) {
    return store.list().stream().anyMatch(model -> model.name().equals(name) && model.isAvailable());
  }

  @Test
  void aModelIsPulledOpenedVerifiedAndDeleted() throws IOException {
    assertFalse(has("owner/repo"));
    fails(Code.NOT_FOUND, () -> Engine.open(store.model(MODEL)));
    fails(Code.NOT_FOUND, () -> store.verify(MODEL));
    fails(Code.NOT_FOUND, () -> store.delete(MODEL));
    Transfer.Progress last = null;
    try (Transfer transfer = store.pull(MODEL)) {
      for (Transfer.Progress progress; (progress = transfer.next()) != null; ) {
        assertEquals(content.length, progress.total());
        assertTrue(last == null || progress.done() >= last.done());
        last = progress;
      }
      assertEquals(Finish.COMPLETE, transfer.finish());
    }
    assertEquals(content.length, last.done());
    assertTrue(has("owner/repo"));
    try (Engine engine = Engine.open(store.model(MODEL), Models.options().build())) {
      assertEquals(Engine.Kind.LANGUAGE, engine.kind());
    }
    try (Transfer transfer = store.verify(MODEL)) {
      transfer.await();
      assertEquals(Finish.COMPLETE, transfer.finish());
    }
    flipABit();
    try (Transfer transfer = store.verify(MODEL)) {
      fails(Code.BAD_MODEL, transfer::await);
    }
    assertTrue(store.delete(MODEL) >= content.length);
    assertFalse(has("owner/repo"));
  }

  private void flipABit() throws IOException {
    try (Stream<Path> files = Files.walk(folder.toPath())) {
      Path blob = files.filter(path -> path.getParent().endsWith("blobs")).findFirst().get();
      byte[] bytes = Files.readAllBytes(blob);
      assertTrue(Arrays.equals(content, bytes));
      bytes[bytes.length / 2] ^= 1;
      Files.write(blob, bytes);
    }
  }

  @Test
  void aTransferIsCancelledAndGoesOnWhereItEnded() {
    stalls = true;
    try (Transfer transfer = store.pull(MODEL)) {
      Transfer.Progress progress = transfer.next();
      assertNotNull(progress);
      transfer.cancel();
      assertNull(transfer.next());
      released.countDown();
      assertEquals(Finish.CANCELLED, transfer.finish());
    }
    assertFalse(has("owner/repo"));
    stalls = false;
    try (Transfer transfer = store.pull(MODEL)) {
      transfer.await();
    }
    assertTrue(has("owner/repo"));
  }

  @Test
  void theCatalogueIsListedAndTheBundledModelIsThere() {
    assertTrue(has("en-fr"));
    assertTrue(store.list().stream().anyMatch(model -> model.kind().equals("language") && !model.isAvailable()));
    try (Engine engine = Engine.open(store.model("en-fr"))) {
      assertEquals(Engine.Kind.TRANSLATOR, engine.kind());
    }
    fails(Code.BAD_ARGUMENT, () -> store.pull("en-fr"));
    fails(Code.NOT_FOUND, () -> store.pull("no-such-model"));
    fails(Code.NOT_FOUND, () -> Engine.open(store.model("no-such-model")));
    fails(Code.BAD_ARGUMENT, () -> store.from("ftp://127.0.0.1", null).pull(MODEL));
    fails(Code.BAD_ARGUMENT, () -> ModelStore.in(null));
  }
}
