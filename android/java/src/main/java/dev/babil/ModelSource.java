package dev.babil;

import java.io.File;

/** Where a model is. */
public final class ModelSource {
  final int kind;
  final byte[] name;
  final byte[] folder;
  final int descriptor;
  final long offset;
  final long length;
  private final String description;

  private ModelSource(int kind, String name, String folder, String description) {
    this(kind, name, folder, description, -1, 0, 0);
  }

  private ModelSource(
      int kind, String name, String folder, String description, int descriptor, long offset, long length) {
    this.kind = kind;
    this.name = Text.optional(name);
    this.folder = Text.optional(folder);
    this.description = description;
    this.descriptor = descriptor;
    this.offset = offset;
    this.length = length;
  }

  /**
   * The translator between English and French inside the library, where the library was built with it.
   *
   * @return the source
   */
  public static ModelSource bundled() {
    return new ModelSource(0, null, null, "the bundled model");
  }

  /**
   * A file (GGUF, a speech model of whisper.cpp, or a folder in a zip archive that compresses nothing) or a folder with
   * {@code config.json}. It is mapped, not read, and must stay as it is while an engine has it open.
   *
   * @param path the file or folder
   * @return the source
   * @throws BabilException {@link Code#BAD_ARGUMENT} where it is null
   */
  public static ModelSource file(File path) {
    return file(Text.notNull(path, "the path of a model").getPath());
  }

  /**
   * As {@link #file(File)}.
   *
   * @param path the file or folder
   * @return the source
   * @throws BabilException {@link Code#BAD_ARGUMENT} where it is null
   */
  public static ModelSource file(String path) {
    return new ModelSource(1, Text.notNull(path, "the path of a model"), null, path);
  }

  /**
   * A file, or a part of one, that is open: an asset of an app that is stored uncompressed ({@code AssetFileDescriptor}), or
   * what a content URI leads to ({@code ParcelFileDescriptor}, offset 0 and the length of the file). It is a GGUF file, a
   * speech model of whisper.cpp, or the folder of a translator or speech model in a zip archive that compresses nothing
   * ({@code zip -0}). It is mapped, not copied. The descriptor must be open until {@link Engine#open} or {@link
   * Engine#plan} has returned, and can be closed then.
   *
   * @param descriptor the number of the file descriptor
   * @param offset where the model begins in the file, in bytes
   * @param length how long it is, in bytes
   * @param name what errors call it; packed weights are found again by it
   * @return the source
   * @throws BabilException {@link Code#BAD_ARGUMENT} where the name is null
   */
  public static ModelSource descriptor(int descriptor, long offset, long length, String name) {
    Text.notNull(name, "the name of a model");
    return new ModelSource(3, name, null, name, descriptor, offset, length);
  }

  static ModelSource named(String name, String folder) {
    return new ModelSource(2, name, folder, name);
  }

  @Override
  public String toString() {
    return description;
  }
}
