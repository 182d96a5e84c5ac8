package dev.babil;

import java.io.ByteArrayInputStream;
import java.io.DataInputStream;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.CharBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.CodingErrorAction;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;

/** Text and records as they cross to native code: UTF-8, never the modified UTF-8 of JNI's strings. */
final class Text {
  /** U+FFFD, which stands for halves of characters. */
  private static final byte[] REPLACEMENT = {(byte) 0xEF, (byte) 0xBF, (byte) 0xBD};

  private Text() {}

  /** The UTF-8 of a text, where a surrogate without its other half becomes U+FFFD; null of null. */
  static byte[] optional(String text) {
    if (text == null) {
      return null;
    }
    try {
      ByteBuffer bytes =
          StandardCharsets.UTF_8
              .newEncoder()
              .onMalformedInput(CodingErrorAction.REPLACE)
              .onUnmappableCharacter(CodingErrorAction.REPLACE)
              .replaceWith(REPLACEMENT)
              .encode(CharBuffer.wrap(text));
      byte[] result = new byte[bytes.remaining()];
      bytes.get(result);
      return result;
    } catch (CharacterCodingException impossible) {
      throw new AssertionError(impossible);
    }
  }

  /**
   * The UTF-8 of a text that must be there.
   *
   * @param what what messages call it
   * @throws BabilException {@link Code#BAD_ARGUMENT} where it is null
   */
  static byte[] of(String text, String what) {
    return optional(notNull(text, what));
  }

  static <T> T notNull(T value, String what) {
    if (value == null) {
      throw new BabilException(Code.BAD_ARGUMENT, what + " is null");
    }
    return value;
  }

  static String of(byte[] utf8) {
    return new String(utf8, StandardCharsets.UTF_8);
  }

  /** Reads one item of a record. */
  interface Item<T> {
    T read(Record record) throws IOException;
  }

  /** A record that native code has written. */
  static final class Record extends DataInputStream {
    Record(byte[] bytes) {
      super(new ByteArrayInputStream(bytes));
    }

    String text() throws IOException {
      byte[] utf8 = new byte[readInt()];
      readFully(utf8);
      return of(utf8);
    }
  }

  /** Reads a record. */
  static <T> T read(byte[] bytes, Item<T> item) {
    try {
      return item.read(new Record(bytes));
    } catch (IOException error) {
      throw new BabilException(Code.INTERNAL, "a record of the native library ends early: " + error);
    }
  }

  /** Reads a record that is a list. */
  static <T> List<T> list(byte[] bytes, Item<T> item) {
    return read(
        bytes,
        record -> {
          int count = record.readInt();
          List<T> items = new ArrayList<>(count);
          for (int i = 0; i < count; i++) {
            items.add(item.read(record));
          }
          return items;
        });
  }
}
