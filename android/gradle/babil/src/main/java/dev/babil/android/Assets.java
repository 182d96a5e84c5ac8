package dev.babil.android;

import android.content.Context;
import android.content.res.AssetFileDescriptor;
import dev.babil.BabilException;
import dev.babil.Code;
import dev.babil.Engine;
import dev.babil.EngineOptions;
import dev.babil.MemoryPlan;
import dev.babil.ModelSource;
import java.io.File;
import java.io.FileNotFoundException;
import java.io.IOException;

/**
 * Models that an app brings as assets: GGUF files, speech models of whisper.cpp, and folders in zip archives that compress
 * nothing. They are mapped where they lie in the app's package, and never unpacked; so the package must not compress them:
 *
 * <pre>{@code android { androidResources { noCompress += listOf("gguf", "bin", "zip") } }}</pre>
 */
public final class Assets {
  /** The translator between English and French of the artifact {@code babil-en-fr}. */
  public static final String EN_FR = "babil/en-fr.zip";

  private Assets() {}

  /** What is done with a model while its descriptor is open. */
  private interface Use<T> {
    T of(ModelSource source);
  }

  private static <T> T with(Context context, String asset, Use<T> use) {
    try (AssetFileDescriptor part = context.getAssets().openFd(asset)) {
      int descriptor = part.getParcelFileDescriptor().getFd();
      return use.of(ModelSource.descriptor(descriptor, part.getStartOffset(), part.getLength(), asset));
    } catch (FileNotFoundException error) {
      // Android does not say which of the two it is.
      throw new BabilException(
          Code.NOT_FOUND,
          "there is no asset " + asset + ", or the package compresses it: noCompress in the app's build file keeps it whole");
    } catch (IOException error) {
      throw new BabilException(Code.IO, "cannot use the asset " + asset + ": " + error.getMessage());
    }
  }

  /**
   * Opens a model. Not on the thread of the user interface.
   *
   * @param context of the app
   * @param asset its path below {@code assets}
   * @param options how to run it
   * @return the engine, to be closed
   * @throws BabilException {@link Code#NOT_FOUND} where there is no such asset, or the package compresses it; and as {@link
   *     Engine#open(ModelSource, EngineOptions)}
   */
  public static Engine open(Context context, String asset, EngineOptions options) {
    return with(context, asset, source -> Engine.open(source, options));
  }

  /**
   * What a model would need.
   *
   * @param context of the app
   * @param asset its path below {@code assets}
   * @param options how it would be run
   * @return bytes, by part
   * @throws BabilException {@link Code#NOT_FOUND} where there is no such asset, or the package compresses it; and as {@link
   *     Engine#plan(ModelSource, EngineOptions)}
   */
  public static MemoryPlan plan(Context context, String asset, EngineOptions options) {
    return with(context, asset, source -> Engine.plan(source, options));
  }

  /**
   * Options as an app needs them: copies of weights are kept in its cache folder.
   *
   * @param context of the app
   * @return options that can be changed
   */
  public static EngineOptions.Builder options(Context context) {
    return EngineOptions.builder().packedFolder(new File(context.getCacheDir(), "babil"));
  }
}
