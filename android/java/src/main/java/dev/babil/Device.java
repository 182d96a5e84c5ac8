package dev.babil;

/**
 * What computes the encoders of speech and translation models, and prompts. Text is generated on the CPU in any case.
 *
 * <p>An NPU is reached through ONNX Runtime and a plugin for it, which are libraries of the app and not part of babil; what it
 * computes is close to what the CPU does, not the same to the bit. If it fails while it is in use, the CPU goes on.
 */
public enum Device {
  /** The CPU. */
  CPU,
  /** The NPU; a model is not opened where there is none. */
  NPU,
  /** The NPU, where there is one and a short test on this device finds it to be faster or cheaper. */
  AUTO
}
