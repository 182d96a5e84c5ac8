package android.content;

/** Nobody receives here. */
public abstract class BroadcastReceiver {}
