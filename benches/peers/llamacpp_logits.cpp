// Logits of llama.cpp after every token of a list: llamacpp_logits MODEL.gguf TOKENS.u32 OUT.f32 THREADS
//
// TOKENS.u32 holds little-endian 32-bit token ids, OUT.f32 gets [tokens, vocabulary] float32. Keys and values are float16,
// flash attention off: what llama.cpp does unless told otherwise.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <vector>

#include "llama.h"

int main(int argc, char** argv) {
  if (argc != 5) {
    std::fprintf(stderr, "usage: llamacpp_logits MODEL.gguf TOKENS.u32 OUT.f32 THREADS\n");
    return 2;
  }
  llama_log_set([](ggml_log_level, const char*, void*) {}, nullptr);
  std::ifstream in(argv[2], std::ios::binary);
  std::vector<char> bytes{std::istreambuf_iterator<char>(in), {}};
  const auto* tokens = reinterpret_cast<const llama_token*>(bytes.data());
  const int count = static_cast<int>(bytes.size() / 4);

  llama_backend_init();
  llama_model* model = llama_model_load_from_file(argv[1], llama_model_default_params());
  if (!model) return 1;
  llama_context_params params = llama_context_default_params();
  params.n_ctx = count;
  params.n_batch = params.n_ubatch = 64;
  params.n_threads = params.n_threads_batch = std::atoi(argv[4]);
  params.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_DISABLED;
  llama_context* context = llama_init_from_model(model, params);
  if (!context) return 1;
  const int vocabulary = llama_vocab_n_tokens(llama_model_get_vocab(model));
  std::ofstream out(argv[3], std::ios::binary);
  llama_batch batch = llama_batch_init(64, 0, 1);
  for (int first = 0; first < count; first += 64) {
    batch.n_tokens = std::min(64, count - first);
    for (int i = 0; i < batch.n_tokens; i++) {
      batch.token[i] = tokens[first + i];
      batch.pos[i] = first + i;
      batch.n_seq_id[i] = 1;
      batch.seq_id[i][0] = 0;
      batch.logits[i] = true;
    }
    if (llama_decode(context, batch) != 0) return 1;
    for (int i = 0; i < batch.n_tokens; i++) {
      out.write(reinterpret_cast<const char*>(llama_get_logits_ith(context, i)), 4l * vocabulary);
    }
  }
  return out ? 0 : 1;
}
