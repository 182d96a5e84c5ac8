// The parts of a training step between the matrix products, for bfloat16 activations on a CPU.
//
// Sentences lie one after the other without padding: row i of an activation is token i of the batch, and `starts`
// says where each sentence begins. So every matrix product sees the same [tokens, width] shape at every step. The loops
// are plain C++ that a compiler turns into vector instructions (-O3 -march=native -ffast-math); float32 inside.

#include <torch/extension.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <mutex>
#include <vector>

using torch::Tensor;
#define SIMD _Pragma("GCC ivdep")  // the rows of a loop do not overlap
typedef uint16_t b16;  // the bits of a bfloat16

static inline float load(b16 x) {
  uint32_t u = uint32_t(x) << 16;
  float f;
  std::memcpy(&f, &u, 4);
  return f;
}

static inline b16 store(float f) {  // round to nearest, ties to even; no NaN here
  uint32_t u;
  std::memcpy(&u, &f, 4);
  return b16((u + 0x7fff + ((u >> 16) & 1)) >> 16);
}

static inline float fast_exp(float x) {  // for x <= 0, relative error below 1e-6
  x = std::max(x, -87.0f) * 1.44269504f;
  float whole = std::floor(x + 0.5f), f = x - whole;
  float p = 1.5403530e-4f;
  p = p * f + 1.3333558e-3f;
  p = p * f + 9.6181291e-3f;
  p = p * f + 5.5504109e-2f;
  p = p * f + 2.4022651e-1f;
  p = p * f + 6.9314718e-1f;
  p = p * f + 1.0f;
  int32_t bits = (int32_t(whole) + 127) << 23;
  float scale;
  std::memcpy(&scale, &bits, 4);
  return p * scale;
}

static inline uint32_t mix(uint32_t x) {
  x ^= x >> 16;
  x *= 0x85ebca6bu;
  x ^= x >> 13;
  x *= 0xc2b2ae35u;
  return x ^ (x >> 16);
}

// 1 if element i is kept, 0 if it is dropped, by a hash of i and key
static inline float kept(uint32_t i, uint32_t key, uint32_t drop) {
  return float(int32_t(mix(i * 0x9E3779B1u ^ key) >= drop));
}

static b16 *bits(const Tensor &t) { return reinterpret_cast<b16 *>(t.data_ptr()); }

static void expect(const Tensor &t, torch::ScalarType type) {
  TORCH_CHECK(t.is_contiguous() && t.scalar_type() == type, "kernels: wrong type or layout");
}

constexpr auto F32 = torch::kFloat32;
constexpr auto B16 = torch::kBFloat16;
constexpr float LN_EPS = 1e-5f;

// Adds per-thread rows of sums into one.
struct Sums {
  std::vector<float> total;
  std::mutex lock;
  explicit Sums(int64_t n) : total(n, 0.0f) {}
  void add(const std::vector<float> &part) {
    std::lock_guard<std::mutex> guard(lock);
    for (size_t i = 0; i < part.size(); i++) total[i] += part[i];
  }
  Tensor tensor(int64_t from, int64_t n) {
    Tensor t = torch::empty({n}, F32);
    std::memcpy(t.data_ptr(), total.data() + from, n * 4);
    return t;
  }
};

// out = h + dropout(y + bias), and its layer norm in bfloat16. `drop` of 2^32 values of the hash are dropped.
std::vector<Tensor> add_norm(Tensor h, c10::optional<Tensor> y, c10::optional<Tensor> bias, Tensor gamma, Tensor beta,
                             double p, int64_t seed) {
  expect(h, F32), expect(gamma, F32), expect(beta, F32);
  const int64_t rows = h.size(0), dim = h.size(1);
  if (y) expect(*y, B16), expect(*bias, F32);
  Tensor out = y ? torch::empty_like(h) : h, norm = torch::empty({rows, dim}, B16);
  Tensor stats = torch::empty({rows, 2}, F32);
  const uint32_t drop = uint32_t(p * 4294967295.0), key = mix(uint32_t(seed));
  const float keep = 1.0f / (1.0f - float(p));
  const float *H = h.data_ptr<float>(), *G = gamma.data_ptr<float>(), *B = beta.data_ptr<float>();
  const float *bi = y ? bias->data_ptr<float>() : nullptr;
  const b16 *Y = y ? bits(*y) : nullptr;
  float *O = out.data_ptr<float>(), *S = stats.data_ptr<float>();
  b16 *N = bits(norm);
  at::parallel_for(0, rows, 64, [=](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; r++) {
      float *o = O + r * dim;
      if (Y) {
        const float *a = H + r * dim;
        const b16 *b = Y + r * dim;
        const uint32_t base = uint32_t(r * dim);
        SIMD for (int64_t j = 0; j < dim; j++) {
          const float on = kept(base + uint32_t(j), key, drop) * keep;
          o[j] = a[j] + on * (load(b[j]) + bi[j]);
        }
      }
      float sum = 0, square = 0;
      for (int64_t j = 0; j < dim; j++) sum += o[j];
      const float mean = sum / dim;
      for (int64_t j = 0; j < dim; j++) square += (o[j] - mean) * (o[j] - mean);
      const float scale = 1.0f / std::sqrt(square / dim + LN_EPS);
      S[2 * r] = mean, S[2 * r + 1] = scale;
      b16 *n = N + r * dim;
      SIMD for (int64_t j = 0; j < dim; j++) n[j] = store((o[j] - mean) * scale * G[j] + B[j]);
    }
  });
  return {out, norm, stats};
}

// Gradients of add_norm: for h (float32), y (bfloat16, if has_y), bias, gamma, beta.
std::vector<Tensor> add_norm_back(c10::optional<Tensor> dout, Tensor dnorm, Tensor out, Tensor stats, Tensor gamma,
                                  bool has_y, double p, int64_t seed) {
  expect(dnorm, B16), expect(out, F32);
  if (dout) expect(*dout, F32);
  const int64_t rows = out.size(0), dim = out.size(1);
  Tensor dh = torch::empty_like(out), dy = has_y ? torch::empty({rows, dim}, B16) : Tensor();
  const uint32_t drop = uint32_t(p * 4294967295.0), key = mix(uint32_t(seed));
  const float keep = 1.0f / (1.0f - float(p));
  const float *D = dout ? dout->data_ptr<float>() : nullptr, *O = out.data_ptr<float>();
  const float *S = stats.data_ptr<float>(), *G = gamma.data_ptr<float>();
  const b16 *DN = bits(dnorm);
  float *DH = dh.data_ptr<float>();
  b16 *DY = has_y ? bits(dy) : nullptr;
  Sums sums(3 * dim);
  at::parallel_for(0, rows, 64, [&](int64_t begin, int64_t end) {
    std::vector<float> part(3 * dim, 0.0f), work(2 * dim);
    const uint32_t drop_below = drop, hash_key = key;
    const float kept_scale = keep;
    float *dbias = part.data(), *dgamma = dbias + dim, *dbeta = dgamma + dim, *x = work.data(), *g = x + dim;
    for (int64_t r = begin; r < end; r++) {
      const float *o = O + r * dim;
      const b16 *dn = DN + r * dim;
      const float mean = S[2 * r], scale = S[2 * r + 1];
      float a = 0, b = 0;
      SIMD for (int64_t j = 0; j < dim; j++) {
        const float n = load(dn[j]);
        x[j] = (o[j] - mean) * scale;
        dgamma[j] += n * x[j];
        dbeta[j] += n;
        g[j] = n * G[j];
        a += g[j];
        b += g[j] * x[j];
      }
      a /= dim, b /= dim;
      float *dh_row = DH + r * dim;
      if (D) {
        const float *d = D + r * dim;
        SIMD for (int64_t j = 0; j < dim; j++) dh_row[j] = d[j] + scale * (g[j] - a - x[j] * b);
      } else {
        SIMD for (int64_t j = 0; j < dim; j++) dh_row[j] = scale * (g[j] - a - x[j] * b);
      }
      if (DY) {
        b16 *dy_row = DY + r * dim;
        const uint32_t base = uint32_t(r * dim);
        SIMD for (int64_t j = 0; j < dim; j++) {
          const float on = kept(base + uint32_t(j), hash_key, drop_below) * kept_scale;
          const float v = dh_row[j] * on;
          dbias[j] += v;
          dy_row[j] = store(v);
        }
      }
    }
    sums.add(part);
  });
  return {dh, dy, sums.tensor(0, dim), sums.tensor(dim, dim), sums.tensor(2 * dim, dim)};
}

// g *= (r > 0) in place; returns the sums of the columns of g (the gradient of the bias before the relu).
Tensor relu_back(Tensor g, Tensor r) {
  expect(g, B16), expect(r, B16);
  const int64_t rows = g.size(0), dim = g.size(1);
  b16 *G = bits(g);
  const b16 *R = bits(r);
  Sums sums(dim);
  at::parallel_for(0, rows, 64, [&](int64_t begin, int64_t end) {
    std::vector<float> part(dim, 0.0f);
    float *s = part.data();
    for (int64_t i = begin; i < end; i++) {
      b16 *g_row = G + i * dim;
      const b16 *r_row = R + i * dim;
      SIMD for (int64_t j = 0; j < dim; j++) {
        const b16 v = r_row[j] ? g_row[j] : b16(0);
        g_row[j] = v;
        s[j] += load(v);
      }
    }
    sums.add(part);
  });
  return sums.tensor(0, dim);
}

constexpr int64_t HEAD = 64;  // the width of an attention head

static void take(float *to, const b16 *from, int64_t rows, int64_t stride, float scale) {
  for (int64_t i = 0; i < rows; i++)
    SIMD for (int64_t j = 0; j < HEAD; j++) to[i * HEAD + j] = load(from[i * stride + j]) * scale;
}

static void give(b16 *to, const float *from, int64_t rows, int64_t stride, float scale, float *sums) {
  for (int64_t i = 0; i < rows; i++)
    SIMD for (int64_t j = 0; j < HEAD; j++) {
      to[i * stride + j] = store(from[i * HEAD + j] * scale);
      sums[j] += from[i * HEAD + j] * scale;
    }
}

// A row of HEAD values in four vectors (GCC and Clang make narrower ones of them where the processor has no such).
typedef float lanes __attribute__((vector_size(64), aligned(4), may_alias));
struct Row {
  lanes a, b, c, d;
};

static inline Row get(const float *p) {
  const lanes *v = reinterpret_cast<const lanes *>(p);
  return {v[0], v[1], v[2], v[3]};
}

static inline void put(float *p, const Row &r) {
  lanes *v = reinterpret_cast<lanes *>(p);
  v[0] = r.a, v[1] = r.b, v[2] = r.c, v[3] = r.d;
}

static inline void axpy(Row &to, float x, const Row &r) { to.a += x * r.a, to.b += x * r.b, to.c += x * r.c, to.d += x * r.d; }

static inline float dot(const Row &x, const Row &y) {
  lanes s = x.a * y.a + x.b * y.b + x.c * y.c + x.d * y.d;
  float sum = 0;
  for (int j = 0; j < 16; j++) sum += s[j];
  return sum;
}

static void softmax(float *p, int64_t seen) {
  float top = p[0], sum = 0;
  for (int64_t k = 1; k < seen; k++) top = std::max(top, p[k]);
  for (int64_t k = 0; k < seen; k++) p[k] = fast_exp(p[k] - top), sum += p[k];
  for (int64_t k = 0; k < seen; k++) p[k] /= sum;
}

// Rows of q are q_stride apart and those of k and v kv_stride apart (they are parts of wider projections); sentence s
// has queries q_starts[s] .. q_starts[s+1] and keys kv_starts[s] .. kv_starts[s+1]. Rows of no sentence give zeros.
struct Shape {
  const int32_t *q_starts, *kv_starts;
  int64_t sentences, heads;
  Shape(const Tensor &qs, const Tensor &ks, int64_t dim) {
    expect(qs, torch::kInt32), expect(ks, torch::kInt32);
    TORCH_CHECK(qs.size(0) == ks.size(0) && dim % HEAD == 0, "kernels: attention shape");
    q_starts = qs.data_ptr<int32_t>(), kv_starts = ks.data_ptr<int32_t>();
    sentences = qs.size(0) - 1, heads = dim / HEAD;
  }
};

static void clear_tail(const Tensor &t, int64_t from) {
  std::memset(bits(t) + from * t.size(1), 0, (t.size(0) - from) * t.size(1) * sizeof(b16));
}

// q: [rows, q_stride] whose first dim columns are queries; kv: [rows, kv_stride] whose columns from kv_offset on are
// keys and then values. For self-attention both are the same tensor of width 3 * dim and kv_offset is dim.
Tensor attention(Tensor q, Tensor kv, int64_t kv_offset, Tensor q_starts, Tensor kv_starts, int64_t dim, bool causal) {
  expect(q, B16), expect(kv, B16);
  Shape s(q_starts, kv_starts, dim);
  const int64_t qw = q.size(1), kw = kv.size(1);
  Tensor out = torch::empty({q.size(0), dim}, B16);
  clear_tail(out, s.q_starts[s.sentences]);
  const b16 *Q = bits(q), *K = bits(kv) + kv_offset;
  b16 *O = bits(out);
  at::parallel_for(0, s.sentences * s.heads, 8, [&](int64_t begin, int64_t end) {
    std::vector<float> work;
    for (int64_t i = begin; i < end; i++) {
      const int64_t n = i / s.heads, at = i % s.heads * HEAD;
      const int64_t q0 = s.q_starts[n], tq = s.q_starts[n + 1] - q0, k0 = s.kv_starts[n], tk = s.kv_starts[n + 1] - k0;
      work.resize((tq + 2 * tk) * HEAD + tk);
      float *fq = work.data(), *fk = fq + tq * HEAD, *fv = fk + tk * HEAD, *p = fv + tk * HEAD, o[HEAD];
      take(fq, Q + q0 * qw + at, tq, qw, 0.125f);
      take(fk, K + k0 * kw + at, tk, kw, 1.0f);
      take(fv, K + k0 * kw + dim + at, tk, kw, 1.0f);
      for (int64_t r = 0; r < tq; r++) {
        const int64_t seen = causal ? r + 1 : tk;
        const Row query = get(fq + r * HEAD);
        for (int64_t k = 0; k < seen; k++) p[k] = dot(query, get(fk + k * HEAD));
        softmax(p, seen);
        Row sum = {};
        for (int64_t k = 0; k < seen; k++) axpy(sum, p[k], get(fv + k * HEAD));
        put(o, sum);
        for (int64_t j = 0; j < HEAD; j++) O[(q0 + r) * dim + at + j] = store(o[j]);
      }
    }
  });
  return out;
}

// Gradients of attention: dq, dkv (laid out as q and kv; one tensor when they are one), and the sums of their columns.
std::vector<Tensor> attention_back(Tensor dout, Tensor q, Tensor kv, int64_t kv_offset, Tensor q_starts,
                                   Tensor kv_starts, int64_t dim, bool causal) {
  expect(dout, B16), expect(q, B16), expect(kv, B16);
  Shape s(q_starts, kv_starts, dim);
  const int64_t qw = q.size(1), kw = kv.size(1);
  const bool same = q.data_ptr() == kv.data_ptr();
  Tensor dq = torch::empty_like(q), dkv = same ? dq : torch::empty_like(kv);
  clear_tail(dq, s.q_starts[s.sentences]);
  if (!same) clear_tail(dkv, s.kv_starts[s.sentences]);
  const b16 *Q = bits(q), *K = bits(kv) + kv_offset, *D = bits(dout);
  b16 *DQ = bits(dq), *DK = bits(dkv) + kv_offset;
  Sums sums(3 * dim);
  at::parallel_for(0, s.sentences * s.heads, 8, [&](int64_t begin, int64_t end) {
    std::vector<float> part(3 * dim, 0.0f), work;
    for (int64_t i = begin; i < end; i++) {
      const int64_t n = i / s.heads, at = i % s.heads * HEAD;
      const int64_t q0 = s.q_starts[n], tq = s.q_starts[n + 1] - q0, k0 = s.kv_starts[n], tk = s.kv_starts[n + 1] - k0;
      work.assign((3 * tq + 4 * tk) * HEAD + 2 * tk, 0.0f);
      float *fq = work.data(), *gq = fq + tq * HEAD, *go = gq + tq * HEAD, *fk = go + tq * HEAD, *gk = fk + tk * HEAD;
      float *fv = gk + tk * HEAD, *gv = fv + tk * HEAD, *p = gv + tk * HEAD, *dp = p + tk;
      take(fq, Q + q0 * qw + at, tq, qw, 0.125f);
      take(go, D + q0 * dim + at, tq, dim, 1.0f);
      take(fk, K + k0 * kw + at, tk, kw, 1.0f);
      take(fv, K + k0 * kw + dim + at, tk, kw, 1.0f);
      for (int64_t r = 0; r < tq; r++) {
        const int64_t seen = causal ? r + 1 : tk;
        const Row query = get(fq + r * HEAD), dout_row = get(go + r * HEAD);
        for (int64_t k = 0; k < seen; k++) {
          p[k] = dot(query, get(fk + k * HEAD));
          dp[k] = dot(dout_row, get(fv + k * HEAD));
        }
        softmax(p, seen);
        float mean = 0;
        for (int64_t k = 0; k < seen; k++) mean += p[k] * dp[k];
        Row dquery = {};
        for (int64_t k = 0; k < seen; k++) {
          const float ds = p[k] * (dp[k] - mean);
          Row value = get(gv + k * HEAD), key = get(gk + k * HEAD);
          axpy(value, p[k], dout_row);
          axpy(key, ds, query);
          axpy(dquery, ds, get(fk + k * HEAD));
          put(gv + k * HEAD, value);
          put(gk + k * HEAD, key);
        }
        put(gq + r * HEAD, dquery);
      }
      give(DQ + q0 * qw + at, gq, tq, qw, 0.125f, &part[at]);
      give(DK + k0 * kw + at, gk, tk, kw, 1.0f, &part[dim + at]);
      give(DK + k0 * kw + dim + at, gv, tk, kw, 1.0f, &part[2 * dim + at]);
    }
    sums.add(part);
  });
  return {dq, dkv, sums.tensor(0, dim), sums.tensor(dim, 2 * dim), sums.tensor(0, 3 * dim)};
}

// Label-smoothed cross entropy of logits z + bias. Replaces z by the gradient of scale * (sum of the losses), adds the
// sums of its columns to dbias, and returns that scaled sum. Rows whose target is negative do not count.
double cross_entropy_(Tensor z, Tensor bias, Tensor targets, Tensor dbias, double smoothing, double scale) {
  expect(z, B16), expect(bias, F32), expect(targets, torch::kInt32), expect(dbias, F32);
  const int64_t rows = z.size(0), classes = z.size(1);
  b16 *Z = bits(z);
  const float *B = bias.data_ptr<float>();
  const int32_t *T = targets.data_ptr<int32_t>();
  const float low = smoothing / classes, c = scale;
  Sums sums(classes);
  double total = 0;
  std::mutex lock;
  at::parallel_for(0, rows, 16, [&](int64_t begin, int64_t end) {
    std::vector<float> part(classes, 0.0f), work(classes);
    float *d = part.data(), *e = work.data();
    double loss = 0;
    for (int64_t r = begin; r < end; r++) {
      b16 *row = Z + r * classes;
      if (T[r] < 0) {
        std::memset(row, 0, classes * sizeof(b16));
        continue;
      }
      float top = -1e30f, sum = 0, all = 0;
      SIMD for (int64_t j = 0; j < classes; j++) {
        e[j] = load(row[j]) + B[j];
        all += e[j];
        top = std::max(top, e[j]);
      }
      const float right = e[T[r]];
      SIMD for (int64_t j = 0; j < classes; j++) {
        e[j] = fast_exp(e[j] - top);
        sum += e[j];
      }
      const float log_sum = top + std::log(sum);
      loss += log_sum - (1 - smoothing) * right - low * all;
      e[T[r]] -= sum * (1 - float(smoothing));
      const float inverse = c / sum, shift = c * low;
      SIMD for (int64_t j = 0; j < classes; j++) {
        const float g = e[j] * inverse - shift;
        d[j] += g;
        row[j] = store(g);
      }
    }
    sums.add(part);
    std::lock_guard<std::mutex> guard(lock);
    total += loss;
  });
  float *D = dbias.data_ptr<float>();
  for (int64_t j = 0; j < classes; j++) D[j] += sums.total[j];
  return total * scale;
}

// Rows of the embedding times `scale` plus the positions.
Tensor embed(Tensor ids, Tensor at, Tensor table, Tensor positions, double scale) {
  expect(ids, torch::kInt64), expect(at, torch::kInt64), expect(table, F32), expect(positions, F32);
  const int64_t rows = ids.size(0), dim = table.size(1);
  Tensor out = torch::empty({rows, dim}, F32);
  const int64_t *I = ids.data_ptr<int64_t>(), *A = at.data_ptr<int64_t>();
  const float *E = table.data_ptr<float>(), *P = positions.data_ptr<float>(), c = scale;
  float *O = out.data_ptr<float>();
  at::parallel_for(0, rows, 256, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; r++) {
      const float *e = E + I[r] * dim, *p = P + A[r] * dim;
      float *o = O + r * dim;
      SIMD for (int64_t j = 0; j < dim; j++) o[j] = e[j] * c + p[j];
    }
  });
  return out;
}

// Adds the gradient of embed to `grad`; each thread has its own columns.
void embed_back_(Tensor grad, Tensor ids, Tensor dout, double scale) {
  expect(grad, F32), expect(dout, F32), expect(ids, torch::kInt64);
  const int64_t rows = ids.size(0), dim = grad.size(1);
  const int64_t *I = ids.data_ptr<int64_t>();
  const float *D = dout.data_ptr<float>(), c = scale;
  float *G = grad.data_ptr<float>();
  at::parallel_for(0, dim, 64, [&](int64_t begin, int64_t end) {
    for (int64_t r = 0; r < rows; r++) {
      float *g = G + I[r] * dim;
      const float *d = D + r * dim;
      SIMD for (int64_t j = begin; j < end; j++) g[j] += d[j] * c;
    }
  });
}

double sum_squares(Tensor g) {
  const int64_t n = g.numel();
  double total = 0;
  std::mutex lock;
  const bool narrow = g.scalar_type() == B16;
  expect(g, narrow ? B16 : F32);
  at::parallel_for(0, n, 16384, [&](int64_t begin, int64_t end) {
    double sum = 0;
    for (int64_t at = begin; at < end; at += 1024) {
      const int64_t stop = std::min(end, at + 1024);
      float s = 0;
      if (narrow) {
        const b16 *x = bits(g);
        for (int64_t j = at; j < stop; j++) s += load(x[j]) * load(x[j]);
      } else {
        const float *x = g.data_ptr<float>();
        for (int64_t j = at; j < stop; j++) s += x[j] * x[j];
      }
      sum += s;
    }
    std::lock_guard<std::mutex> guard(lock);
    total += sum;
  });
  return total;
}

// One step of AdamW on p, with the gradient times `clip`; also writes the bfloat16 copy of p.
void adamw_(Tensor p, Tensor grad, Tensor first, Tensor second, c10::optional<Tensor> copy, double clip, double lr,
            double beta1, double beta2, double eps, double decay, int64_t step) {
  const bool narrow = grad.scalar_type() == B16;
  expect(p, F32), expect(grad, narrow ? B16 : F32), expect(first, F32), expect(second, F32);
  if (copy) expect(*copy, B16);
  float *P = p.data_ptr<float>(), *M = first.data_ptr<float>(), *V = second.data_ptr<float>();
  b16 *C = copy ? bits(*copy) : nullptr;
  const float c = clip, b1 = beta1, b2 = beta2, e = eps, keep = 1 - lr * decay;
  const float size = lr / (1 - std::pow(beta1, step)), root = 1 / std::sqrt(1 - std::pow(beta2, step));
  at::parallel_for(0, p.numel(), 16384, [&](int64_t begin, int64_t end) {
    float g[1024];
    for (int64_t at = begin; at < end; at += 1024) {
      const int64_t n = std::min(end - at, int64_t(1024));
      float *w = P + at, *m = M + at, *v = V + at;
      if (narrow) {
        const b16 *x = bits(grad) + at;
        SIMD for (int64_t j = 0; j < n; j++) g[j] = load(x[j]) * c;
      } else {
        const float *x = grad.data_ptr<float>() + at;
        SIMD for (int64_t j = 0; j < n; j++) g[j] = x[j] * c;
      }
      SIMD for (int64_t j = 0; j < n; j++) {
        m[j] = b1 * m[j] + (1 - b1) * g[j];
        v[j] = b2 * v[j] + (1 - b2) * g[j] * g[j];
        w[j] = w[j] * keep - size * m[j] / (std::sqrt(v[j]) * root + e);
      }
      if (C) {
        b16 *h = C + at;
        SIMD for (int64_t j = 0; j < n; j++) h[j] = store(w[j]);
      }
    }
  });
}

PYBIND11_MODULE(TORCH_EXTENSION_NAME, m) {
  m.def("embed", &embed);
  m.def("embed_back_", &embed_back_);
  m.def("sum_squares", &sum_squares);
  m.def("adamw_", &adamw_);
  m.def("add_norm", &add_norm);
  m.def("add_norm_back", &add_norm_back);
  m.def("relu_back", &relu_back);
  m.def("attention", &attention);
  m.def("attention_back", &attention_back);
  m.def("cross_entropy_", &cross_entropy_);
}
