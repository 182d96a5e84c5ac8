package dev.babil;

/** A direction of translation: two codes of ISO 639-1. */
public final class LanguagePair {
  private final String from;
  private final String to;

  LanguagePair(String from, String to) {
    this.from = from;
    this.to = to;
  }

  /**
   * The source language.
   *
   * @return its code, as in {@code en}
   */
  public String from() {
    return from;
  }

  /**
   * The target language.
   *
   * @return its code, as in {@code fr}
   */
  public String to() {
    return to;
  }

  @Override
  public boolean equals(Object other) {
    return other instanceof LanguagePair && toString().equals(other.toString());
  }

  @Override
  public int hashCode() {
    return toString().hashCode();
  }

  @Override
  public String toString() {
    return from + " -> " + to;
  }
}
