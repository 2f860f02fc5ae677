// A sequence of linear layers on a few vectors. The weights, which are most of the memory, are read once, and the threads
// are woken once.
#include "../kernel.h"

// y (batch, outputs) = x (batch, inputs) times weight (outputs, inputs), transposed, plus bias (outputs) or null.
struct AttnzooLinear {
  int64_t batch, inputs, outputs;
  int64_t rectified;   // whether a ReLU is applied
  int64_t transposed;  // whether y is (outputs, batch)
  float* x;            // input; first filled from `columns` if given
  const float *weight, *bias;
  float* y;
  const float* columns;  // x as (inputs, batch), or null
};

namespace attnzoo {
namespace ATTNZOO_ISA {

constexpr int kOutputs = 4;  // rows of weights processed together
#if defined(__AVX512F__)
constexpr int kTogether = 4;  // vectors processed together; 16 sums of 32 registers
#else
constexpr int kTogether = 2;  // 8 sums of 16 registers
#endif
constexpr int64_t kAhead = 256;  // prefetch distance in floats

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
      const F<N> w = fresh(load<N>(from));  // masked as well: infinity times 0 is NaN
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) sums[o][v] += w * row[v];
    }
  });
  for (int o = 0; o < kOutputs; ++o)
    for (int v = 0; v < V; ++v) out[v * out_stride + o] = sum<N>(sums[o][v]);
}

// The outputs from kOutputs * task on, of all vectors; the last task overlaps the one before.
inline void outputs(const AttnzooLinear& layer, int64_t task) {
  const int64_t inputs = layer.inputs, count = smaller(kOutputs, layer.outputs);
  const int64_t first = smaller(task * kOutputs, larger(0, layer.outputs - kOutputs));
  const float* weight = layer.weight + first * inputs;
  float found[kTogether * kOutputs];
  with_lanes(inputs, [&](auto vector) {
    constexpr int N = lanes(decltype(vector){});
    for (int64_t b = 0; b < layer.batch;) {
      const float* x = layer.x + b * inputs;
      int64_t done = 1;
      if (count < kOutputs) {
        for (int64_t o = 0; o < count; ++o) {
          float total = 0;
          for (int64_t i = 0; i < inputs; ++i) total += weight[o * inputs + i] * x[i];
          found[o] = total;
        }
      } else if (layer.batch - b >= kTogether) {
        dot<kTogether, N>(weight, x, inputs, found, kOutputs);
        done = kTogether;
      } else {
        dot<1, N>(weight, x, inputs, found, kOutputs);
      }
      for (int64_t v = b; v < b + done; ++v) {
        for (int64_t o = first; o < first + count; ++o) {
          const float value = found[(v - b) * kOutputs + o - first] + (layer.bias ? layer.bias[o] : 0);
          layer.y[layer.transposed ? o * layer.batch + v : v * layer.outputs + o] =
              layer.rectified && value < 0 ? 0 : value;
        }
      }
      b += done;
    }
  });
}

constexpr int64_t kTurned = 8;  // vectors transposed together, so that reads are contiguous

// The vectors from kTurned * task on, from columns.
inline void turn(const AttnzooLinear& layer, int64_t task) {
  const int64_t first = task * kTurned, end = smaller(first + kTurned, layer.batch);
  for (int64_t i = 0; i < layer.inputs; ++i)
    for (int64_t v = first; v < end; ++v) layer.x[v * layer.inputs + i] = layer.columns[i * layer.batch + v];
}

}  // namespace ATTNZOO_ISA
}  // namespace attnzoo

using namespace attnzoo::ATTNZOO_ISA;

ATTNZOO_EXPORT(linears)(int64_t count, int threads, const AttnzooLinear* layers) {
  int64_t weights = 0;
  for (int64_t i = 0; i < count; ++i) weights += layers[i].inputs * layers[i].outputs;
  together(threads, threads, weights, [&](Team& team, int) {
    for (int64_t i = 0; i < count; ++i) {
      if (layers[i].columns) team.step(ceil_div(layers[i].batch, kTurned), [&](int64_t task) { turn(layers[i], task); });
      team.step(ceil_div(layers[i].outputs, kOutputs), [&](int64_t task) { outputs(layers[i], task); });
    }
  });
  return kDone;
}
