package dev.babil;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.ByteArrayOutputStream;
import java.io.File;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.util.zip.CRC32;
import java.util.zip.ZipEntry;
import java.util.zip.ZipOutputStream;
import org.junit.jupiter.api.Test;

/** Folders in archives, as assets are, and where copies of weights go. */
class AssetsTest extends GivesBack {
  private static final String TEXT = "Where is the station? Thank you.";

  /** A folder in an archive that compresses nothing. */
  private static byte[] archive(File folder, boolean compressed) throws IOException {
    ByteArrayOutputStream bytes = new ByteArrayOutputStream();
    try (ZipOutputStream zip = new ZipOutputStream(bytes)) {
      for (File file : folder.listFiles(File::isFile)) {
        byte[] content = Files.readAllBytes(file.toPath());
        ZipEntry entry = new ZipEntry(folder.getName() + "/" + file.getName());
        if (!compressed) {
          CRC32 sum = new CRC32();
          sum.update(content);
          entry.setMethod(ZipEntry.STORED);
          entry.setSize(content.length);
          entry.setCrc(sum.getValue());
        }
        zip.putNextEntry(entry);
        // In pieces: -Xcheck:jni copies an array each time that the compressor looks at it.
        for (int start = 0; start < content.length; start += 8192) {
          zip.write(content, start, Math.min(8192, content.length - start));
        }
      }
    }
    return bytes.toByteArray();
  }

  @Test
  void aTranslatorIsMappedInsideAnArchiveInsideAnotherFile() throws IOException {
    String expected;
    try (Engine engine = Models.translator()) {
      expected = engine.translator("en", "fr").translate(TEXT);
    }
    byte[] archive = archive(Models.root("models/bundled/en-fr"), false);
    File apk = new File(Models.temporary("apk"), "app.apk");
    try (FileOutputStream out = new FileOutputStream(apk)) {
      out.write(new byte[4100]);
      out.write(archive);
      out.write(new byte[50]);
    }
    try (RandomAccessFile file = new RandomAccessFile(apk, "r")) {
      int descriptor = RulesTest.descriptorOf(apk);
      ModelSource source = ModelSource.descriptor(descriptor, 4100, archive.length, "en-fr");
      MemoryPlan plan = Engine.plan(source, EngineOptions.DEFAULT);
      assertTrue(plan.weights() > 9_000_000 && plan.weights() < archive.length, "" + plan.weights());
      assertEquals(0, plan.disk(), "packed already");
      try (Engine engine = Engine.open(source)) {
        file.close();
        assertEquals(expected, engine.translator("en", "fr").translate(TEXT), "the descriptor is closed");
      }
    }
    // The same as a file of its own.
    File whole = new File(Models.temporary("archive"), "en-fr.zip");
    Files.write(whole.toPath(), archive);
    try (Engine engine = Engine.open(ModelSource.file(whole))) {
      assertEquals(expected, engine.translator("en", "fr").translate(TEXT));
    }
    File compressed = new File(whole.getParentFile(), "compressed.zip");
    Files.write(compressed.toPath(), archive(Models.root("models/bundled/en-fr"), true));
    BabilException error = assertThrows(BabilException.class, () -> Engine.open(ModelSource.file(compressed)));
    assertEquals(Code.BAD_MODEL, error.code());
    assertTrue(error.getMessage().contains("zip -0"), error.getMessage());
  }

  @Test
  void aSpeechModelIsMappedInsideAnArchive() throws IOException {
    File model = Models.root("models/recipes/speech-en-tiny/model");
    File whole = new File(Models.temporary("archive"), "speech.zip");
    Files.write(whole.toPath(), archive(model, false));
    try (Engine engine = Engine.open(ModelSource.file(whole), Models.options().build())) {
      assertEquals(Engine.Kind.SPEECH, engine.kind());
    }
  }

  /** A translator of float weights: random ones, the bundled model's pieces, and a vocabulary with few of them. */
  private static File floatTranslator() throws IOException {
    File folder = Models.temporary("float");
    File random = Models.root("models/parity/pre-norm");
    Files.copy(new File(random, "model.safetensors").toPath(), new File(folder, "model.safetensors").toPath());
    Files.copy(Models.root("models/bundled/en-fr/source.spm").toPath(), new File(folder, "source.spm").toPath());
    String config = new String(Files.readAllBytes(new File(random, "config.json").toPath()), StandardCharsets.UTF_8);
    config = config.replaceFirst("\\{", "{\"translation_pairs\": [{\"from\": \"en\", \"to\": \"fr\"}],");
    Files.write(new File(folder, "config.json").toPath(), config.getBytes(StandardCharsets.UTF_8));
    StringBuilder vocabulary = new StringBuilder("{\"</s>\": 0, \"<unk>\": 1, \"\u2581\": 2, \"<pad>\": 3");
    for (int id = 4; id < 120; id++) {
      vocabulary.append(", \"piece").append(id).append("\": ").append(id);
    }
    byte[] json = vocabulary.append('}').toString().getBytes(StandardCharsets.UTF_8);
    Files.write(new File(folder, "vocab.json").toPath(), json);
    return folder;
  }

  @Test
  void copiesOfWeightsGoWhereTheyAreWanted() throws IOException {
    File speech = Models.root("models/recipes/speech-en-tiny/model");
    File[] models = {floatTranslator(), speech, Models.chatModel()};
    for (File model : models) {
      File packed = new File(Models.temporary("packed"), "below");
      ModelSource source = ModelSource.file(model);
      EngineOptions options = EngineOptions.builder().threads(1).packedFolder(packed).build();
      MemoryPlan plan = Engine.plan(source, options);
      assertTrue(plan.weights() > 0 && plan.total() >= plan.weights() && plan.fits(), model.getPath());
      Engine.open(source, options).close();
      File[] copies = packed.listFiles();
      boolean needed = plan.disk() > 0;
      assertEquals(needed, copies != null && copies.length > 0, model + " needs a copy of " + plan.disk());
    }
  }
}
