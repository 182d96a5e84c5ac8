package dev.babil;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.lang.reflect.Method;
import java.lang.reflect.Modifier;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.junit.jupiter.api.Test;

/** Both sides of the boundary agree. */
class NativeTest {
  private static final Pattern FUNCTION =
      Pattern.compile("fn Java_dev_babil_(\\w+?)_(\\w+)\\(([^)]*)\\) -> ([^{]+) \\{");

  /** The native methods of Rust's source, with the types of Java: what crosses with other types would be undefined. */
  @Test
  void nativeMethodsHaveTheSameTypesOnBothSides() throws IOException {
    String source =
        new String(Files.readAllBytes(Models.root("android/src/java.rs").toPath()), StandardCharsets.UTF_8);
    Map<String, String> rust = new TreeMap<>();
    Matcher function = FUNCTION.matcher(source);
    while (function.find()) {
      StringBuilder types = new StringBuilder();
      String[] parameters = function.group(3).split(",");
      for (String parameter : Arrays.copyOfRange(parameters, 1, parameters.length)) {
        types.append(parameter.substring(parameter.indexOf(':') + 1).trim()).append(' ');
      }
      String name = function.group(1) + "." + function.group(2);
      rust.put(name, types + "-> " + function.group(4).trim());
    }
    Map<String, String> java = new TreeMap<>();
    for (Class<?> type : new Class<?>[] {Native.class, Testing.class}) {
      for (Method method : type.getDeclaredMethods()) {
        if (Modifier.isNative(method.getModifiers())) {
          StringBuilder types = new StringBuilder();
          for (Class<?> parameter : method.getParameterTypes()) {
            types.append(rustType(parameter)).append(' ');
          }
          java.put(type.getSimpleName() + "." + method.getName(), types + "-> " + rustType(method.getReturnType()));
        }
      }
    }
    assertTrue(java.size() > 20);
    assertEquals(java, rust);
  }

  private static String rustType(Class<?> type) {
    if (type.isArray()) {
      String item = type.getComponentType().getName();
      return "J" + Character.toUpperCase(item.charAt(0)) + item.substring(1) + "Array<'e>";
    }
    return type == void.class ? "()" : "j" + type.getName();
  }

  @Test
  void theLibraryTellsWhatItIs() {
    assertTrue(Babil.version().matches("\\d+\\.\\d+\\.\\d+"));
    assertTrue(Babil.instructionSet().matches("scalar|avx2|avxvnni|avx512|amx|neon|dotprod|i8mm"));
  }

  @Test
  void eachSystemHasItsLibrary() {
    assertEquals("natives/linux-x86_64/libbabil_jni.so", Library.resource("Linux", "amd64"));
    assertEquals("natives/linux-aarch64/libbabil_jni.so", Library.resource("Linux", "aarch64"));
    assertEquals("natives/macos-aarch64/libbabil_jni.dylib", Library.resource("Mac OS X", "arm64"));
    assertEquals("natives/windows-x86_64/babil_jni.dll", Library.resource("Windows 11", "amd64"));
  }

  /** In a JVM of its own, because a library is loaded once. */
  @Test
  void aLibraryThatIsNotThereIsATypedException() throws Exception {
    String[][] cases = {
      {"-Dos.arch=sparc", "natives/linux-sparc/libbabil_jni.so is not in it"},
      {"-Dbabil.library=/nonexistent/libbabil_jni.so", "cannot load the native library"},
    };
    // The JVM of these tests, or the command that runs it in an emulator.
    String emulated = System.getenv("BABIL_JAVA");
    String java = emulated != null ? emulated : System.getProperty("java.home") + "/bin/java";
    for (String[] test : cases) {
      List<String> command = new ArrayList<>(Arrays.asList(java.split(" ")));
      command.add(test[0]);
      command.addAll(Arrays.asList("-cp", System.getProperty("java.class.path"), LoadsTwice.class.getName()));
      Process process = new ProcessBuilder(command).redirectErrorStream(true).start();
      String output = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
      assertEquals(0, process.waitFor(), output);
      String[] lines = output.split("\n");
      assertEquals(2, lines.length, output);
      for (String line : lines) {
        assertTrue(line.startsWith("UNSUPPORTED ") && line.contains(test[1]), line);
      }
    }
  }

  /** The program of that test. */
  static final class LoadsTwice {
    public static void main(String[] arguments) {
      for (int i = 0; i < 2; i++) {
        try {
          Babil.version();
        } catch (BabilException error) {
          System.out.println(error.code() + " " + error.getMessage());
        }
      }
    }
  }

  @Test
  void codesAndFinishesAreThoseOfRust() throws IOException {
    assertEquals(Code.values().length, numbers("failure.rs", "pub(crate) enum Code"));
    assertEquals(Finish.values().length, numbers("generation.rs", "pub(crate) enum Finish"));
    assertEquals(Code.INTERNAL, Code.of(99), "of a newer library");
  }

  /** How many variants an enum of Rust numbers, which are those of Java by name. */
  private static int numbers(String file, String start) throws IOException {
    String source = new String(Files.readAllBytes(Models.root("android/src/" + file).toPath()), StandardCharsets.UTF_8);
    String body = source.substring(source.indexOf(start));
    Matcher variant = Pattern.compile("(\\w+) = (\\d+),").matcher(body.substring(0, body.indexOf('}')));
    int count = 0;
    while (variant.find()) {
      Enum<?>[] java = start.endsWith("Code") ? Code.values() : Finish.values();
      String name = java[Integer.parseInt(variant.group(2))].name().replace("_", "");
      assertTrue(name.equalsIgnoreCase(variant.group(1)), variant.group());
      count++;
    }
    assertFalse(count == 0);
    return count;
  }

  @Test
  void textThatIsNoTextIsRefused() {
    Library.load();
    byte[] text = {'a', (byte) 0xC0, (byte) 0x80};
    BabilException error =
        assertThrows(BabilException.class, () -> Native.plan(1, text, null, -1, 0, 0, 0, null));
    assertEquals(Code.BAD_ARGUMENT, error.code(), "modified UTF-8");
  }
}
