// y = [relu](x * (share * sigmoid(a + b) + 1 - share) [+ shortcut]) in one pass; and its gradient. All maps have the same
// memory format, so that the kernels treat them as `count` elements in a row.
#include "../kernel.h"

namespace attnzoo {
namespace ATTNZOO_ISA {

template <int N> inline F<N> sigmoid(F<N> logits) { return 1.f / (1.f + exponential<N>(-logits)); }

// Calls step(vector, index) for all elements, in tasks; the last step of a task may overlap the one before it.
template <class Step> inline void each(int64_t count, int threads, Step step) {
  const Chunks chunks(count, kTask);
  parallel(threads, chunks.count, count, [&](int64_t task) {
    const int64_t from = chunks.begin(task);
    with_lanes(chunks.extent(task), [&](auto vector) {
      sweep<lanes(decltype(vector){}), 2>(chunks.extent(task), [&](int64_t i, int, auto) { step(vector, from + i); });
    });
  });
}

template <bool Relu, class T>
int llam_gate(const T* x, const T* a, const T* b, const T* shortcut, float share, T* y, T* logits, int64_t count,
              int threads) {
  const float rest = 1 - share;
  each(count, threads, [=](auto vector, int64_t i) {
    constexpr int N = lanes(decltype(vector){});
    F<N> sum = load<N>(a + i);
    if (b) sum += load<N>(b + i);
    if (logits) store<N>(logits + i, sum);
    F<N> result = load<N>(x + i) * (share * sigmoid<N>(sum) + rest);
    if (shortcut) result += load<N>(shortcut + i);
    if (Relu) result = result < 0.f ? F<N>{} : result;
    store<N>(y + i, result);
  });
  return kDone;
}

// y: what the ReLU returned, or null if there is none. d_shortcut and d_share may be null.
template <class T>
int llam_gate_backward(const T* dy, const T* x, const T* logits, const T* y, float share, T* dx, T* d_logits,
                       T* d_shortcut, float* d_share, int64_t count, int threads) {
  const Chunks chunks(count, kTask);
  const Scratch parts(d_share ? chunks.count : 0);
  if (parts.failed()) return kNoMemory;
  const float rest = 1 - share;
  parallel(threads, chunks.count, count, [&](int64_t task) {
    const int64_t from = chunks.begin(task);
    with_lanes(chunks.extent(task), [&](auto vector) {
      constexpr int N = lanes(decltype(vector){});
      F<N> total[2] = {};
      sweep<N, 2>(chunks.extent(task), [&](int64_t k, int slot, auto fresh) {
        const int64_t i = from + k;
        F<N> d = load<N>(dy + i);
        if (y) d = load<N>(y + i) <= 0.f ? F<N>{} : d;
        if (d_shortcut) store<N>(d_shortcut + i, d);
        const F<N> gate = sigmoid<N>(load<N>(logits + i)), v = load<N>(x + i);
        store<N>(dx + i, d * (share * gate + rest));
        store<N>(d_logits + i, share * d * gate * v * (1.f - gate));
        if (d_share) total[slot] += fresh(d * v * (gate - 1.f));
      });
      if (d_share) parts.data()[task] = sum<N>(total[0] + total[1]);
    });
  });
  double whole = 0;
  for (int64_t k = 0; k < chunks.count && d_share; ++k) whole += parts.data()[k];
  if (d_share) *d_share = (float)whole;
  return kDone;
}

}  // namespace ATTNZOO_ISA
}  // namespace attnzoo

using namespace attnzoo::ATTNZOO_ISA;

// b, shortcut and logits (which receives a + b) may be null.
ATTNZOO_EXPORT(llam_gate)(const AttnzooMap* map, const void* x, const void* a, const void* b, const void* shortcut,
                          float share, int relu, void* y, void* logits) {
  const int64_t count = map->batch * map->channels * map->pixels;
  return with_storage(map->dtype, [&](auto type) {
    const auto run = relu ? llam_gate<true, typename decltype(type)::Type> : llam_gate<false, typename decltype(type)::Type>;
    return run(type.in(x), type.in(a), type.in(b), type.in(shortcut), share, type.out(y), type.out(logits),
               count, map->threads);
  });
}

ATTNZOO_EXPORT(llam_gate_backward)(const AttnzooMap* map, const void* dy, const void* x, const void* logits,
                                   const void* y, float share, void* dx, void* d_logits, void* d_shortcut,
                                   float* d_share) {
  const int64_t count = map->batch * map->channels * map->pixels;
  return with_storage(map->dtype, [&](auto type) {
    return llam_gate_backward(type.in(dy), type.in(x), type.in(logits), type.in(y), share, type.out(dx),
                              type.out(d_logits), type.out(d_shortcut), d_share, count, map->threads);
  });
}
