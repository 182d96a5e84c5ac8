package android.content.res;

import java.io.IOException;

/** This phone's apps have no assets. */
public final class AssetManager {
  private AssetManager() {}

  public AssetFileDescriptor openFd(String name) throws IOException {
    throw new IOException(name);
  }
}
