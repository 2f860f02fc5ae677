// Gradients of the weights of CEDNN's block: sums over the pixels of a tile. Three ways: few rows with few rows; many with
// many, one side of which is transposed so that sums lie in the lanes; and the kernels of 3x3.
#pragma once

#include "step.h"

namespace attnzoo {
namespace ATTNZOO_ISA {

// to = the lanes of even and odd, taking turns.
template <int N> ATTNZOO_HOT void weave(F<N> even, F<N> odd, float* to) {
  if constexpr (N == 1) {
    to[0] = even[0];
    to[1] = odd[0];
  } else {
    I<N> low, high;
    for (int k = 0; k < N; ++k) {
      low[k] = k / 2 + k % 2 * N;
      high[k] = low[k] + N / 2;
    }
    store<N>(to, picked<N>(even, odd, low));
    store<N>(to + N, picked<N>(even, odd, high));
  }
}

template <int O, int K>
ATTNZOO_HOT void correlate_rows(const float* d, int64_t d_apart, const float* in, int64_t in_apart, int64_t pixels,
                                float* to, int64_t depth) {
  V sums[O][K];
  for (int o = 0; o < O; ++o)
    for (int k = 0; k < K; ++k) sums[o][k] = V{};
  for (int64_t p = 0; p < pixels; p += kLanes) {
    V row[K];
#pragma GCC unroll 4
    for (int k = 0; k < K; ++k) row[k] = load<kLanes>(in + k * in_apart + p);
#pragma GCC unroll 4
    for (int o = 0; o < O; ++o) {
      const V own = load<kLanes>(d + o * d_apart + p);
#pragma GCC unroll 4
      for (int k = 0; k < K; ++k) sums[o][k] += own * row[k];
    }
  }
#pragma GCC unroll 4
  for (int o = 0; o < O; ++o) {
#pragma GCC unroll 4
    for (int k = 0; k < K; ++k) to[o * depth + k] += sum<kLanes>(sums[o][k]);
  }
}

#if defined(__AVX512F__)
constexpr int kSide = 4;  // of a block of products: 16 sums of 32 registers
constexpr int kKernels = 3;
#else
constexpr int kSide = 3;
constexpr int kKernels = 1;
#endif

template <class Kernel> inline void with_side(int64_t count, Kernel kernel) {
  switch (count) {
    case 1: return kernel(Count<1>{});
    case 2: return kernel(Count<2>{});
    case 3: return kernel(Count<3>{});
#if defined(__AVX512F__)
    case 4: return kernel(Count<4>{});
#endif
  }
}

// to (outputs, depth) += rows of d times rows of in, transposed: a weight's gradient over a tile.
ATTNZOO_HOT void add_products(const float* d, int64_t d_apart, int64_t outputs, const float* in, int64_t in_apart,
                              int64_t depth, int64_t pixels, float* to) {
  for (int64_t o = 0; o < outputs; o += kSide) {
    with_side(smaller(kSide, outputs - o), [&](auto outs) {
      for (int64_t k = 0; k < depth; k += kSide) {
        with_side(smaller(kSide, depth - k), [&](auto ins) {
          correlate_rows<decltype(outs)::value, decltype(ins)::value>(d + o * d_apart, d_apart, in + k * in_apart,
                                                                      in_apart, pixels, to + o * depth + k, depth);
        });
      }
    });
  }
}

// Turns a square of kLanes rows: log2(kLanes) times the halves are woven into one another.
ATTNZOO_HOT void transpose(V (&rows)[kLanes]) {
  float woven[kLanes * kLanes];
#pragma GCC unroll 4
  for (int step = 1; step < kLanes; step *= 2) {
#pragma GCC unroll 8
    for (int i = 0; i < kLanes / 2; ++i) weave<kLanes>(rows[i], rows[i + kLanes / 2], woven + 2 * i * kLanes);
#pragma GCC unroll 16
    for (int i = 0; i < kLanes; ++i) rows[i] = load<kLanes>(woven + i * kLanes);
  }
}

// The panels of transposed rows: kTile channels of every pixel, one panel after the other, the last as wide as it must.
inline int64_t panel_width(int64_t channels) { return smaller(kTile, ceil_div(channels, kLanes) * kLanes); }
inline int64_t panels_size(int64_t channels, int64_t apart) { return ceil_div(channels, kLanes) * kLanes * apart; }

ATTNZOO_HOT void transpose_rows(const float* rows, int64_t apart, int64_t channels, int64_t pixels, float* panel) {
  for (int64_t first = 0; first < channels; first += kTile) {
    const int64_t width = panel_width(channels - first);
    for (int64_t lane = 0; lane < width; lane += kLanes) {
      const int64_t there = channels - first - lane;
      for (int64_t p = 0; p < pixels; p += kLanes) {
        V square[kLanes];
        for (int i = 0; i < kLanes; ++i)
          square[i] = i < there ? load<kLanes>(rows + (first + lane + i) * apart + p) : V{};
        transpose(square);
        for (int i = 0; i < kLanes; ++i) store<kLanes>(panel + (p + i) * width + lane, square[i]);
      }
    }
    panel += width * apart;
  }
}

template <int O, int W>
ATTNZOO_HOT void correlate_panel(const float* in, int64_t apart, const float* panel, int64_t pixels, float* to,
                                 int64_t outputs, int64_t there) {
  V sums[O][W];
  for (int o = 0; o < O; ++o)
    for (int v = 0; v < W; ++v) sums[o][v] = V{};
  for (int64_t p = 0; p < pixels; ++p, panel += W * kLanes) {
    V row[W];
#pragma GCC unroll 4
    for (int v = 0; v < W; ++v) row[v] = load<kLanes>(panel + v * kLanes);
#pragma GCC unroll 6
    for (int o = 0; o < O; ++o) {
      const float factor = in[o * apart + p];
#pragma GCC unroll 4
      for (int v = 0; v < W; ++v) sums[o][v] += row[v] * factor;
    }
  }
  for (int o = 0; o < O; ++o) {
    for (int v = 0; v < W; ++v) {
      float* at = to + o * outputs + v * kLanes;
      store_first(at, load_first(at, there - v * kLanes) + sums[o][v], there - v * kLanes);
    }
  }
}

// to (depth, outputs) += rows of in times rows of d, which lie transposed in panels: a weight's gradient, transposed.
ATTNZOO_HOT void add_panels(const float* in, int64_t apart, int64_t depth, const float* panel, int64_t outputs,
                            int64_t pixels, float* to) {
  const Blocks blocks(depth);
  for (int64_t first = 0; first < outputs; first += kTile) {
    const int64_t width = panel_width(outputs - first), there = outputs - first;
    for (int64_t k = 0; k < blocks.count; ++k) {
      const float* rows = in + blocks.begin(k) * apart;
      float* at = to + blocks.begin(k) * outputs + first;
      with_count(blocks.extent(k), [&](auto count) {
        constexpr int O = decltype(count)::value;
        switch (width / kLanes) {
          case 1: return correlate_panel<O, 1>(rows, apart, panel, pixels, at, outputs, there);
          case 2: return correlate_panel<O, 2>(rows, apart, panel, pixels, at, outputs, there);
          case 3: return correlate_panel<O, 3>(rows, apart, panel, pixels, at, outputs, there);
          default: return correlate_panel<O, 4>(rows, apart, panel, pixels, at, outputs, there);
        }
      });
    }
    panel += width * apart;
  }
}

// to (.., 9) += the gradients of O kernels that read strip x, `next` apart: strips d, without their margins, times x around
// the same pixels. A row's margin in d is zero.
template <int O>
ATTNZOO_HOT void add_kernels(const float* d, int64_t size, const float* x, int64_t stride, int64_t rows, float* to,
                             int64_t next) {
  const int64_t length = rows * stride - 1;
  V sums[O][9];
  for (auto& kernel : sums)
    for (V& each : kernel) each = V{};
  d += stride + 1;
  for (int64_t p = 0; p < length; p += kLanes) {
    V own[O];
#pragma GCC unroll 3
    for (int o = 0; o < O; ++o) own[o] = first_lanes(load<kLanes>(d + o * size + p), length - p);
#pragma GCC unroll 3
    for (int dy = 0; dy < 3; ++dy) {
#pragma GCC unroll 3
      for (int dx = 0; dx < 3; ++dx) {
        const V near = load<kLanes>(x + dy * stride + dx + p);
#pragma GCC unroll 3
        for (int o = 0; o < O; ++o) sums[o][3 * dy + dx] += own[o] * near;
      }
    }
  }
  for (int o = 0; o < O; ++o)
    for (int k = 0; k < 9; ++k) to[o * next + k] += sum<kLanes>(sums[o][k]);
}

}  // namespace ATTNZOO_ISA
}  // namespace attnzoo
