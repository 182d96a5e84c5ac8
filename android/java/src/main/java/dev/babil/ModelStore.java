package dev.babil;

import java.io.File;
import java.io.IOException;
import java.util.Collections;
import java.util.List;

/**
 * A folder of models that are known by name: those of babil's catalogue, and any repository of the hub as {@code
 * owner/repo}. Only {@link #pull(String)} opens a network connection.
 */
public final class ModelStore {
  private final String folder;
  private final byte[] endpoint;
  private final byte[] token;

  private ModelStore(String folder, byte[] endpoint, byte[] token) {
    this.folder = folder;
    this.endpoint = endpoint;
    this.token = token;
  }

  /**
   * The store in a folder, which other clients of the hub can share. On Android, one below {@code Context.getFilesDir()}.
   *
   * @param folder the folder; it is created where it is needed
   * @return the store
   * @throws BabilException {@link Code#BAD_ARGUMENT} where it is null
   */
  public static ModelStore in(File folder) {
    String path = Text.notNull(folder, "the folder of a store").getPath();
    Library.load();
    return new ModelStore(path, null, null);
  }

  /**
   * The same store, with another place to pull from.
   *
   * @param endpoint the address, {@code https://...}
   * @param token what gives access to private models there, or null; it is sent nowhere else
   * @return the store
   * @throws BabilException {@link Code#BAD_ARGUMENT} where the address is null
   */
  public ModelStore from(String endpoint, String token) {
    return new ModelStore(folder, Text.of(endpoint, "the endpoint"), Text.optional(token));
  }

  private byte[] folder() {
    return Text.optional(folder);
  }

  /**
   * All models: the catalogue's, and others that were pulled.
   *
   * @return the models
   * @throws BabilException {@link Code#IO}
   */
  public List<StoredModel> list() {
    return Collections.unmodifiableList(Text.list(Native.models(folder(), endpoint, token), StoredModel::new));
  }

  /**
   * A model of this store, to open.
   *
   * @param name its name, {@code owner/repo} or {@code owner/repo/file.gguf}, with a type as in {@code name:Q4_K_M}
   * @return its source; opening it fails with {@link Code#NOT_FOUND} where it has not been pulled
   * @throws BabilException {@link Code#BAD_ARGUMENT} where it is null
   */
  public ModelSource model(String name) {
    return ModelSource.named(Text.notNull(name, "the name of a model"), folder);
  }

  /**
   * Fetches what is missing of a model. A transfer that was cancelled or cut off goes on where it ended.
   *
   * @param name as in {@link #model(String)}
   * @return the transfer, to be closed
   * @throws BabilException {@link Code#NOT_FOUND}, {@link Code#BAD_ARGUMENT}, {@link Code#UNSUPPORTED} where the library
   *     fetches nothing
   */
  public Transfer pull(String name) {
    return new Transfer(Native.pull(Text.of(name, "the name of a model"), folder(), endpoint, token));
  }

  /**
   * Reads all files of a model again, and compares them with what the hub said they are. Damage is a {@link
   * Code#BAD_MODEL} of {@link Transfer#next()}.
   *
   * @param name as in {@link #model(String)}
   * @return the reading, to be closed
   * @throws BabilException {@link Code#NOT_FOUND}, {@link Code#BAD_ARGUMENT}
   */
  public Transfer verify(String name) {
    return new Transfer(Native.verify(Text.of(name, "the name of a model"), folder()));
  }

  /**
   * Deletes a model. An engine that has it open goes on.
   *
   * @param name as in {@link #model(String)}
   * @return the bytes that are free now
   * @throws BabilException {@link Code#NOT_FOUND}, {@link Code#BUSY} while it is being fetched, {@link Code#IO}
   */
  public long delete(String name) {
    return Native.delete(Text.of(name, "the name of a model"), folder());
  }

  /** A model, as the store knows it. */
  public static final class StoredModel {
    private final String name;
    private final String description;
    private final String kind;
    private final String licence;
    private final boolean available;
    private final long bytes;

    StoredModel(Text.Record record) throws IOException {
      name = record.text();
      description = record.text();
      kind = record.text();
      licence = record.text();
      available = record.readBoolean();
      bytes = record.readLong();
    }

    /**
     * Its name.
     *
     * @return what {@link ModelStore#model(String)} takes
     */
    public String name() {
      return name;
    }

    /**
     * A line about it.
     *
     * @return the line; may be empty
     */
    public String description() {
      return description;
    }

    /**
     * What it does.
     *
     * @return {@code translation}, {@code language} or another word; empty where that is not known
     */
    public String kind() {
      return kind;
    }

    /**
     * The licence of its weights.
     *
     * @return the licence's name; empty where that is not known
     */
    public String licence() {
      return licence;
    }

    /**
     * Whether it can be opened.
     *
     * @return true of models that were pulled, and of the bundled one
     */
    public boolean isAvailable() {
      return available;
    }

    /**
     * What it takes of the disk, unfinished transfers included.
     *
     * @return bytes
     */
    public long bytes() {
      return bytes;
    }

    @Override
    public String toString() {
      return name;
    }
  }
}
