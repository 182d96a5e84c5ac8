package dev.babil;

import java.io.ByteArrayOutputStream;
import java.io.File;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;

/** The models of the tests: the bundled one, and small random ones of the repository. */
final class Models {
  private static final File ROOT = new File(System.getenv("BABIL_ROOT"));

  /** In the manner of the models that people have; the vocabulary has no other marks. */
  private static final String TEMPLATE =
      "{% for m in messages %}<s>{{ m.role }} {{ m.content }}</s>{% endfor %}"
          + "{% if add_generation_prompt %}<s>assistant {% endif %}";

  private static File chatModel;

  private Models() {}

  static File root(String path) {
    return new File(ROOT, path);
  }

  static Engine translator() {
    return Engine.open(ModelSource.bundled(), EngineOptions.builder().threads(2).build());
  }

  static EngineOptions.Builder options() {
    return EngineOptions.builder().threads(2).packedFolder(temporary("packed"));
  }

  static Engine language() {
    return Engine.open(ModelSource.file(chatModel()), options().context(512).build());
  }

  /** The small speech model of the repository. */
  static Engine speech() {
    ModelSource source = ModelSource.file(root("models/recipes/speech-en-tiny/model"));
    return Engine.open(source, EngineOptions.builder().threads(2).build());
  }

  /** Forty seconds of speech. */
  static File recording() {
    return root("models/recipes/speech-en-tiny/fixture/short.flac");
  }

  /** A conversation that takes the most probable token, and would never end. */
  static Chat chat(Engine engine) {
    return engine.chat(ChatOptions.builder().temperature(0).build());
  }

  static File temporary(String name) {
    try {
      Path folder = Files.createTempDirectory(name);
      folder.toFile().deleteOnExit();
      return folder.toFile();
    } catch (IOException error) {
      throw new UncheckedIOException(error);
    }
  }

  /** The small random Llama with a chat template. */
  static synchronized File chatModel() {
    if (chatModel == null) {
      try {
        chatModel = new File(temporary("model"), "chat.gguf");
        byte[] plain = Files.readAllBytes(root("models/parity/lm/llama/model.gguf").toPath());
        Files.write(chatModel.toPath(), withTemplate(plain));
        chatModel.deleteOnExit();
      } catch (IOException error) {
        throw new UncheckedIOException(error);
      }
    }
    return chatModel;
  }

  /** A GGUF file with one more key before the others. Its length is a multiple of 32, so that the tensors stay aligned. */
  private static byte[] withTemplate(byte[] file) throws IOException {
    byte[] key = "tokenizer.chat_template".getBytes(StandardCharsets.UTF_8);
    StringBuilder template = new StringBuilder(TEMPLATE).append("{#");
    while ((8 + key.length + 4 + 8 + template.length() + 2) % 32 != 0) {
      template.append(' ');
    }
    byte[] value = template.append("#}").toString().getBytes(StandardCharsets.UTF_8);
    ByteBuffer entry = ByteBuffer.allocate(8 + key.length + 4 + 8 + value.length).order(ByteOrder.LITTLE_ENDIAN);
    entry.putLong(key.length).put(key).putInt(8).putLong(value.length).put(value);
    ByteBuffer header = ByteBuffer.wrap(Arrays.copyOf(file, 24)).order(ByteOrder.LITTLE_ENDIAN);
    header.putLong(16, header.getLong(16) + 1);
    ByteArrayOutputStream out = new ByteArrayOutputStream();
    out.write(header.array());
    out.write(entry.array());
    out.write(file, 24, file.length - 24);
    return out.toByteArray();
  }
}
