package dev.babil;

import static org.junit.jupiter.api.Assertions.assertEquals;

import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;

/** Whatever a test does: what it has closed is gone, and each generation has ended once. */
abstract class GivesBack {
  /** Handles that were open before. */
  long open;

  @BeforeEach
  void before() {
    Library.load();
    open = Testing.openHandles();
  }

  @AfterEach
  void everythingIsGivenBack() {
    assertEquals(open, Testing.openHandles());
    assertEquals(Testing.begun(), Testing.ended(), "exactly one end of each generation");
  }
}
