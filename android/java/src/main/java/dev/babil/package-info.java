/**
 * Translation, small language models and speech, on the device itself.
 *
 * <pre>{@code
 * try (Engine engine = Engine.open(ModelSource.bundled())) {
 *   System.out.println(engine.translator("en", "fr").translate("Where is the station?"));
 * }
 * }</pre>
 *
 * <p>Everything that computes is pulled: no thread of the library ever calls into the program. What can be closed closes
 * what was begun on it. Errors are {@link dev.babil.BabilException}, with a code; using what was closed is an {@link
 * java.lang.IllegalStateException}.
 */
package dev.babil;
