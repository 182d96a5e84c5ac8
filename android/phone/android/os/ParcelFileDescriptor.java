package android.os;

/** An open file. */
public abstract class ParcelFileDescriptor {
  public abstract int getFd();
}
