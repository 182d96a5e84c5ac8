package dev.babil.android;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import android.content.Context;
import android.content.res.AssetFileDescriptor;
import android.content.res.AssetManager;
import android.os.ParcelFileDescriptor;
import dev.babil.BabilException;
import dev.babil.Code;
import dev.babil.Engine;
import java.io.File;
import java.io.FileInputStream;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.file.Files;
import java.util.ArrayList;
import java.util.List;
import java.util.zip.CRC32;
import java.util.zip.ZipEntry;
import java.util.zip.ZipOutputStream;
import org.junit.jupiter.api.Test;

/** Models in the package of an app, on a phone that is simulated: its classes are those of Android, as far as they are used. */
class PackageTest {
  /** What stays open while tests use its number. */
  private static final List<AutoCloseable> OPEN = new ArrayList<>();

  /** The translator as an asset: its folder in an archive that compresses nothing, behind something else. */
  private static File packaged(int before) throws IOException {
    File file = File.createTempFile("app", ".apk");
    file.deleteOnExit();
    File folder = new File(System.getenv("BABIL_ROOT"), "models/bundled/en-fr");
    try (OutputStream out = new FileOutputStream(file)) {
      out.write(new byte[before]);
      try (ZipOutputStream zip = new ZipOutputStream(out)) {
        for (File part : folder.listFiles(File::isFile)) {
          byte[] content = Files.readAllBytes(part.toPath());
          CRC32 sum = new CRC32();
          sum.update(content);
          ZipEntry entry = new ZipEntry("en-fr/" + part.getName());
          entry.setMethod(ZipEntry.STORED);
          entry.setSize(content.length);
          entry.setCrc(sum.getValue());
          zip.putNextEntry(entry);
          zip.write(content);
        }
      }
    }
    return file;
  }

  /** A phone with an app whose package has one asset, from {@code start} on, and no other one. */
  private static Context phone(File apk, int start, int[] closed) {
    return new Context() {
      @Override
      public File getCacheDir() {
        return apk.getParentFile();
      }

      @Override
      public AssetManager getAssets() {
        return new AssetManager() {
          @Override
          public AssetFileDescriptor openFd(String name) throws IOException {
            return name.equals(Assets.EN_FR) ? part(apk, start, closed) : super.openFd(name);
          }
        };
      }
    };
  }

  private static AssetFileDescriptor part(File apk, int start, int[] closed) {
    int descriptor = descriptorOf(apk);
    return new AssetFileDescriptor() {
      @Override
      public ParcelFileDescriptor getParcelFileDescriptor() {
        return new ParcelFileDescriptor() {
          @Override
          public int getFd() {
            return descriptor;
          }
        };
      }

      @Override
      public long getStartOffset() {
        return start;
      }

      @Override
      public long getLength() {
        return apk.length() - start;
      }

      @Override
      public void close() {
        closed[0]++;
      }
    };
  }

  /** The number under which this process has a file open: it is opened here, and stays so. */
  private static int descriptorOf(File file) {
    try {
      OPEN.add(new FileInputStream(file));
      for (File entry : new File("/proc/self/fd").listFiles()) {
        if (Files.isSymbolicLink(entry.toPath()) && Files.readSymbolicLink(entry.toPath()).equals(file.toPath())) {
          return Integer.parseInt(entry.getName());
        }
      }
    } catch (IOException error) {
      throw new AssertionError(error);
    }
    throw new AssertionError("not open: " + file);
  }

  @Test
  void aModelIsOpenedWhereItLiesInThePackage() throws IOException {
    int[] closed = new int[1];
    Context phone = phone(packaged(4100), 4100, closed);
    assertTrue(Assets.plan(phone, Assets.EN_FR, Assets.options(phone).build()).weights() > 9_000_000);
    try (Engine engine = Assets.open(phone, Assets.EN_FR, Assets.options(phone).build())) {
      assertEquals(2, closed[0], "descriptors are closed");
      assertTrue(engine.translator("en", "fr").translate("Where is the station?").contains("gare"));
    }
  }

  /** Android has one exception for both. */
  @Test
  void anAssetThatIsMissingOrCompressedIsATypedException() throws IOException {
    Context phone = phone(packaged(0), 0, new int[1]);
    BabilException error =
        assertThrows(BabilException.class, () -> Assets.open(phone, "model.gguf", Assets.options(phone).build()));
    assertEquals(Code.NOT_FOUND, error.code());
    assertTrue(error.getMessage().contains("model.gguf") && error.getMessage().contains("noCompress"));
    assertThrows(BabilException.class, () -> Assets.plan(phone, "model.gguf", Assets.options(phone).build()));
  }
}
