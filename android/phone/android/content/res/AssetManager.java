package android.content.res;

import java.io.FileNotFoundException;
import java.io.IOException;

/** This phone's apps have no assets, unless a test gives them some. */
public class AssetManager {
  public AssetFileDescriptor openFd(String name) throws IOException {
    throw new FileNotFoundException(name);
  }
}
