package dev.babil;

import java.io.File;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.util.Locale;

/**
 * Loads the native library: on Android the one that the system has unpacked from the app; on a desktop the one at the path
 * that the property {@code babil.library} names, or else the one in the jar for this system.
 */
final class Library {
  private static boolean loaded;

  private Library() {}

  /**
   * Loads the library, unless it is loaded.
   *
   * @throws BabilException {@link Code#UNSUPPORTED} where there is none for this machine, {@link Code#IO}
   */
  static synchronized void load() {
    if (!loaded) {
      find();
      loaded = true;
    }
  }

  private static void find() {
    if (System.getProperty("java.vendor", "").contains("Android")) {
      loadInstalled();
      return;
    }
    String path = System.getProperty("babil.library");
    if (path != null) {
      link(new File(path));
      return;
    }
    String name = resource(System.getProperty("os.name", ""), System.getProperty("os.arch", ""));
    try (InputStream content = Library.class.getResourceAsStream("/" + name)) {
      if (content == null) {
        throw new BabilException(
            Code.UNSUPPORTED,
            "this jar has no native library for this system: " + name + " is not in it. The property babil.library may"
                + " name one that was built for it.");
      }
      // A file of this user alone, of a name that nobody can guess: nobody else can exchange it before it is loaded.
      File file = File.createTempFile("babil", new File(name).getName());
      try {
        try (OutputStream out = new FileOutputStream(file)) {
          byte[] part = new byte[1 << 16];
          for (int count; (count = content.read(part)) > 0; ) {
            out.write(part, 0, count);
          }
        }
        link(file);
      } finally {
        // What is loaded stays, also without a name; systems that forbid this delete it at the end.
        if (!file.delete()) {
          file.deleteOnExit();
        }
      }
    } catch (IOException error) {
      throw new BabilException(Code.IO, "cannot unpack the native library: " + error);
    }
  }

  private static void loadInstalled() {
    try {
      System.loadLibrary("babil_jni");
    } catch (UnsatisfiedLinkError error) {
      throw new BabilException(Code.UNSUPPORTED, "the app has no native library for this device: " + error.getMessage());
    }
  }

  private static void link(File file) {
    try {
      System.load(file.getAbsolutePath());
    } catch (UnsatisfiedLinkError error) {
      throw new BabilException(Code.UNSUPPORTED, "cannot load the native library: " + error.getMessage());
    }
  }

  /** The place in the jar of the library for a system, by the properties {@code os.name} and {@code os.arch}. */
  static String resource(String os, String arch) {
    String system = os.toLowerCase(Locale.ROOT);
    String machine = arch.toLowerCase(Locale.ROOT);
    if (machine.equals("amd64") || machine.equals("x86-64")) {
      machine = "x86_64";
    } else if (machine.equals("arm64")) {
      machine = "aarch64";
    }
    if (system.startsWith("windows")) {
      return "natives/windows-" + machine + "/babil_jni.dll";
    }
    if (system.startsWith("mac")) {
      return "natives/macos-" + machine + "/libbabil_jni.dylib";
    }
    return "natives/" + system + "-" + machine + "/libbabil_jni.so";
  }
}
