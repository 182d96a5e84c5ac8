package dev.babil;

/** Why a generation ended. */
public enum Finish {
  /** It came to its end. */
  COMPLETE,
  /** A text came that was to end it. */
  STOP_STRING,
  /** There are as many tokens as were allowed. */
  LENGTH,
  /** The context is full. */
  CONTEXT,
  /** It was cancelled, or closed. */
  CANCELLED
}
