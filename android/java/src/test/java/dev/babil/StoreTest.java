package dev.babil;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.File;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/** The store, over a hub of one model. */
class StoreTest extends GivesBack {
  private static final String MODEL = Hub.MODEL;

  private final File folder = Models.temporary("store");
  private Hub hub;
  private ModelStore store;

  @BeforeEach
  void start() throws IOException {
    hub = new Hub(Models.chatModel());
    store = hub.store(folder);
  }

  @AfterEach
  void stop() {
    hub.close();
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
        assertEquals(hub.content.length, progress.total());
        assertTrue(last == null || progress.done() >= last.done());
        last = progress;
      }
      assertEquals(Finish.COMPLETE, transfer.finish());
    }
    assertEquals(hub.content.length, last.done());
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
    assertTrue(store.delete(MODEL) >= hub.content.length);
    assertFalse(has("owner/repo"));
  }

  private void flipABit() throws IOException {
    try (Stream<Path> files = Files.walk(folder.toPath())) {
      Path blob = files.filter(path -> path.getParent().endsWith("blobs")).findFirst().get();
      byte[] bytes = Files.readAllBytes(blob);
      assertTrue(Arrays.equals(hub.content, bytes));
      bytes[bytes.length / 2] ^= 1;
      Files.write(blob, bytes);
    }
  }

  @Test
  void aTransferIsCancelledAndGoesOnWhereItEnded() {
    hub.stalls = true;
    try (Transfer transfer = store.pull(MODEL)) {
      Transfer.Progress progress = transfer.next();
      assertNotNull(progress);
      transfer.cancel();
      assertNull(transfer.next());
      hub.release();
      assertEquals(Finish.CANCELLED, transfer.finish());
    }
    assertFalse(has("owner/repo"));
    hub.stalls = false;
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
