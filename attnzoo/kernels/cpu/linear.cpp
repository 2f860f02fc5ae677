// A linear layer of a few vectors, with ReLU or without: the weights, which are most of the memory, are read once.
#include "kernel.h"

namespace attnzoo {
namespace ATTNZOO_ISA {

constexpr int kOutputs = 4;  // rows of weights that are read side by side
#if defined(__AVX512F__)
constexpr int kTogether = 4;  // vectors that share what is read; 16 sums of 32 registers
#else
constexpr int kTogether = 2;  // 8 sums of 16 registers
#endif
constexpr int64_t kAhead = 256;  // floats between what is read and what is asked for

// out[v * out_stride + o] for `kOutputs` rows of weights and V vectors, all `length` long.
template <int V, int N>
ATTNZOO_HOT void dot(const float* weight, const float* x, int64_t length, float* out, int64_t out_stride) {
  F<N> sums[kOutputs][V] = {};
  sweep<N>(length, [&](int64_t i, int, auto fresh) {
    F<N> row[V];
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) row[v] = fresh(load<N>(x + v * length + i));
#pragma GCC unroll 4
    for (int o = 0; o < kOutputs; ++o) {
      const float* from = weight + o * length + i;
      __builtin_prefetch(from + kAhead);
      const F<N> w = fresh(load<N>(from));  // masked as well: infinity times nothing is NaN
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) sums[o][v] += w * row[v];
    }
  });
  for (int o = 0; o < kOutputs; ++o)
    for (int v = 0; v < V; ++v) out[v * out_stride + o] = sum<N>(sums[o][v]);
}

}  // namespace ATTNZOO_ISA
}  // namespace attnzoo

using namespace attnzoo::ATTNZOO_ISA;

// y (batch, outputs) = x (batch, inputs) times weight (outputs, inputs), transposed, plus bias (outputs) or null.
ATTNZOO_EXPORT(linear)(int64_t batch, int64_t inputs, int64_t outputs, int rectified, int threads, const float* x,
                       const float* weight, const float* bias, float* y) {
  parallel(threads, ceil_div(outputs, kOutputs), inputs * outputs, [&](int64_t task) {
    const int64_t first = smaller(task * kOutputs, larger(0, outputs - kOutputs));  // the last task overlaps
    const int64_t count = smaller(kOutputs, outputs);
    float found[kTogether * kOutputs];
    with_lanes(inputs, [&](auto vector) {
      constexpr int N = lanes(decltype(vector){});
      for (int64_t b = 0; b < batch;) {
        const int64_t together = batch - b >= kTogether ? kTogether : 1;
        if (count < kOutputs) {
          for (int64_t o = 0; o < count; ++o) {
            float total = 0;
            for (int64_t i = 0; i < inputs; ++i) total += weight[o * inputs + i] * x[b * inputs + i];
            found[o] = total;
          }
        } else if (together == kTogether) {
          dot<kTogether, N>(weight + first * inputs, x + b * inputs, inputs, found, kOutputs);
        } else {
          dot<1, N>(weight + first * inputs, x + b * inputs, inputs, found, kOutputs);
        }
        const int64_t done = count < kOutputs ? 1 : together;
        for (int64_t v = 0; v < done; ++v) {
          for (int64_t o = 0; o < count; ++o) {
            const float value = found[v * kOutputs + o] + (bias ? bias[first + o] : 0);
            y[(b + v) * outputs + first + o] = rectified && value < 0 ? 0 : value;
          }
        }
        b += done;
      }
    });
  });
  return kDone;
}
