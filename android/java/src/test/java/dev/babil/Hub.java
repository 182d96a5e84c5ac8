package dev.babil;

import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.File;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.Executors;

/** A hub on a loopback address that has one model, {@code owner/repo}. */
final class Hub implements AutoCloseable {
  static final String MODEL = "owner/repo:Q8_0";
  private static final String COMMIT = "0123456789abcdef0123456789abcdef01234567";

  final byte[] content;
  /** Whether it sends half of the file, and then nothing until it is released. */
  volatile boolean stalls;

  private final CountDownLatch released = new CountDownLatch(1);
  private final HttpServer server;

  Hub(File model) throws IOException {
    content = Files.readAllBytes(model.toPath());
    server = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 0);
    server.setExecutor(Executors.newCachedThreadPool());
    server.createContext("/api/models/owner/repo", this::list);
    server.createContext("/owner/repo/resolve/", this::file);
    server.start();
  }

  /** A store that pulls from here. */
  ModelStore store(File folder) {
    return ModelStore.in(folder).from("http://127.0.0.1:" + server.getAddress().getPort(), null);
  }

  void release() {
    released.countDown();
  }

  @Override
  public void close() {
    release();
    server.stop(0);
  }

  private void list(HttpExchange exchange) throws IOException {
    String json = "{\"sha\":\"" + COMMIT + "\",\"siblings\":[{\"rfilename\":\"model-Q8_0.gguf\"}]}";
    exchange.sendResponseHeaders(200, json.length());
    exchange.getResponseBody().write(json.getBytes(StandardCharsets.UTF_8));
    exchange.close();
  }

  private void file(HttpExchange exchange) throws IOException {
    exchange.getResponseHeaders().add("ETag", '"' + sha256(content) + '"');
    exchange.getResponseHeaders().add("X-Repo-Commit", COMMIT);
    exchange.getResponseHeaders().add("Accept-Ranges", "bytes");
    if (exchange.getRequestMethod().equals("HEAD")) {
      exchange.getResponseHeaders().add("Content-Length", String.valueOf(content.length));
      exchange.sendResponseHeaders(200, -1);
      exchange.close();
      return;
    }
    String range = exchange.getRequestHeaders().getFirst("Range");
    int start = range == null ? 0 : Integer.parseInt(range.replaceAll("bytes=(\\d+)-.*", "$1"));
    if (range != null) {
      exchange
          .getResponseHeaders()
          .add("Content-Range", "bytes " + start + "-" + (content.length - 1) + "/" + content.length);
    }
    exchange.sendResponseHeaders(range == null ? 200 : 206, content.length - start);
    int half = Math.max(start, stalls ? content.length / 2 : content.length);
    exchange.getResponseBody().write(content, start, half - start);
    if (stalls) {
      exchange.getResponseBody().flush();
      try {
        released.await();
      } catch (InterruptedException error) {
        Thread.currentThread().interrupt();
      }
    }
    exchange.getResponseBody().write(content, half, content.length - half);
    exchange.close();
  }

  private static String sha256(byte[] content) {
    try {
      StringBuilder text = new StringBuilder();
      for (byte b : MessageDigest.getInstance("SHA-256").digest(content)) {
        text.append(String.format("%02x", b));
      }
      return text.toString();
    } catch (NoSuchAlgorithmException impossible) {
      throw new AssertionError(impossible);
    }
  }
}
