// A 3x3 convolution of channels-last maps in float32 by Winograd's minimal filtering F(2x2, 3x3): 16 multiplications for
// four outputs instead of 36. A. Lavin, S. Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016. A second
// map may be given, whose channels count as concatenated behind those of the first.
#include "../kernel.h"

// x: map. beside: (batch, second, height, width) or null with second = 0. weight: (out, channels, 3, 3) of any strides,
// `turned` by half a turn or not. bias: (out) or null. y: (batch, out, height, width). All numbers of channels are multiples
// of 16, `out` of 32.
struct AttnzooWinograd {
  AttnzooMap map;
  int64_t height, second, out;
  int64_t to_out, to_in, to_row, to_column;  // the weight's strides
  const float *x, *beside, *weight, *bias;
  float* y;
  int32_t turned;
};

namespace attnzoo {
namespace ATTNZOO_ISA {

constexpr int64_t kPanel = 32;        // output channels per panel of transformed weights
constexpr int64_t kFloats = 3 << 16;  // floats of the transformed tiles that are processed together, so that they stay in L2
constexpr int64_t kApart = 16;        // floats of padding between planes, which would else map to the same cache sets
constexpr int kRows = kLanes == 16 ? 12 : kLanes == 8 ? 3 : 1;  // tiles processed together; limited by the registers for sums
constexpr int kWide = kPanel / kLanes;

// Transforms one patch of 4x4 pixels, from (top, left) on, of `channels`; the 16 results lie `stride` apart. Pixels outside
// of the map are 0.
template <class Inside>
ATTNZOO_HOT void transform_pixels(const float* from, int64_t width, int64_t channels, float* out, int64_t stride,
                                  Inside inside) {
  using V = F<kLanes>;
  for (int64_t c = 0; c < channels; c += kLanes) {
    V d[4][4], t[4][4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j) {
        d[i][j] = inside(i, j) ? load<kLanes>(from + (i * width + j) * channels + c) : V{};
      }
    }
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) {
      t[0][j] = d[0][j] - d[2][j];
      t[1][j] = d[1][j] + d[2][j];
      t[2][j] = d[2][j] - d[1][j];
      t[3][j] = d[1][j] - d[3][j];
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      float* to = out + 4 * i * stride + c;
      store<kLanes>(to, t[i][0] - t[i][2]);
      store<kLanes>(to + stride, t[i][1] + t[i][2]);
      store<kLanes>(to + 2 * stride, t[i][2] - t[i][1]);
      store<kLanes>(to + 3 * stride, t[i][1] - t[i][3]);
    }
  }
}

ATTNZOO_HOT void transform_patch(const float* image, int64_t top, int64_t left, int64_t height, int64_t width,
                                 int64_t channels, float* out, int64_t stride) {
  const float* from = image + (top * width + left) * channels;
  if (top >= 0 && left >= 0 && top + 4 <= height && left + 4 <= width) {
    transform_pixels(from, width, channels, out, stride, [](int, int) { return true; });
  } else {
    transform_pixels(from, width, channels, out, stride, [&](int i, int j) {
      return (uint64_t)(top + i) < (uint64_t)height && (uint64_t)(left + j) < (uint64_t)width;
    });
  }
}

// sums (kRows, kPanel of `stride`) = a (kRows, length) times panel (length, kPanel)
ATTNZOO_HOT void multiply(const float* a, const float* panel, int64_t length, float* sums, int64_t stride) {
  F<kLanes> total[kRows][kWide] = {};
  for (int64_t k = 0; k < length; ++k) {
    F<kLanes> b[kWide];
#pragma GCC unroll 8
    for (int j = 0; j < kWide; ++j) b[j] = load<kLanes>(panel + k * kPanel + j * kLanes);
#pragma GCC unroll 12
    for (int r = 0; r < kRows; ++r) {
      const F<kLanes> value = all<kLanes>(a[r * length + k]);
#pragma GCC unroll 8
      for (int j = 0; j < kWide; ++j) total[r][j] += value * b[j];
    }
  }
#pragma GCC unroll 12
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (int j = 0; j < kWide; ++j) store<kLanes>(sums + r * stride + j * kLanes, total[r][j]);
  }
}

// The 3x3 kernels of all pairs of channels, with any strides.
struct Kernels {
  const float* weights;
  int64_t out, in, row, column;  // strides
  bool turned;                   // flipped in both directions, as for the gradient
  float at(int64_t o, int64_t c, int i) const {
    const int tap = turned ? 8 - i : i;
    return weights[o * out + c * in + tap / 3 * row + tap % 3 * column];
  }
};

// G w G^T of the kernels from input channel c to a panel of outputs, from o on; the 16 results lie `stride` apart.
ATTNZOO_HOT void transform_kernels(const Kernels& kernels, int64_t o, int64_t c, float* out, int64_t stride) {
  float taps[9][kPanel];
  for (int64_t p = 0; p < kPanel; ++p)
    for (int i = 0; i < 9; ++i) taps[i][p] = kernels.at(o + p, c, i);
  for (int64_t p = 0; p < kPanel; p += kLanes) {
    F<kLanes> rows[4][3];
    for (int j = 0; j < 3; ++j) {
      const F<kLanes> a = load<kLanes>(taps[j] + p), b = load<kLanes>(taps[3 + j] + p), d = load<kLanes>(taps[6 + j] + p);
      rows[0][j] = a;
      rows[1][j] = 0.5f * (a + b + d);
      rows[2][j] = 0.5f * (a - b + d);
      rows[3][j] = d;
    }
    for (int i = 0; i < 4; ++i) {
      float* to = out + 4 * i * stride + p;
      store<kLanes>(to, rows[i][0]);
      store<kLanes>(to + stride, 0.5f * (rows[i][0] + rows[i][1] + rows[i][2]));
      store<kLanes>(to + 2 * stride, 0.5f * (rows[i][0] - rows[i][1] + rows[i][2]));
      store<kLanes>(to + 3 * stride, rows[i][2]);
    }
  }
}

// The outputs of one tile, of which (rows, columns) lie inside, from 16 sums that lie `stride` apart.
ATTNZOO_HOT void transform_sums(const float* sums, int64_t stride, const float* bias, float* out, int64_t rows,
                                int64_t columns, int64_t width, int64_t channels) {
  for (int64_t c = 0; c < channels; c += kLanes) {
    F<kLanes> t[2][4];
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) {
      const float* from = sums + j * stride + c;
      const F<kLanes> second = load<kLanes>(from + 4 * stride), third = load<kLanes>(from + 8 * stride);
      t[0][j] = load<kLanes>(from) + second + third;
      t[1][j] = second - third - load<kLanes>(from + 12 * stride);
    }
    const F<kLanes> shift = bias ? load<kLanes>(bias + c) : F<kLanes>{};
    for (int64_t i = 0; i < rows; ++i) {
      float* to = out + i * width * channels + c;
      store<kLanes>(to, t[i][0] + t[i][1] + t[i][2] + shift);
      if (columns > 1) store<kLanes>(to + channels, t[i][1] - t[i][2] - t[i][3] + shift);
    }
  }
}

}  // namespace ATTNZOO_ISA
}  // namespace attnzoo

using namespace attnzoo::ATTNZOO_ISA;

ATTNZOO_EXPORT(winograd)(const AttnzooWinograd* call) {
  const AttnzooMap* map = &call->map;
  const int64_t height = call->height, second = call->second, out = call->out;
  const float *x = call->x, *beside = call->beside, *bias = call->bias;
  float* y = call->y;
  const int64_t width = map->pixels / height, first = map->channels, channels = first + second;
  const int64_t down = ceil_div(height, 2), across = ceil_div(width, 2), tiles = map->batch * down * across;
  const int64_t fit = kFloats / (16 * (channels + out)) / kRows, share = ceil_div(ceil_div(tiles, map->threads), kRows);
  const int64_t group = kRows * larger(1, smaller(fit, share)), groups = ceil_div(tiles, group);
  const int64_t patch = group * channels + kApart, sum = group * out + kApart;
  const Kernels kernels{call->weight, call->to_out, call->to_in, call->to_row, call->to_column, call->turned != 0};
  const Scratch transformed(16 * channels * out);
  if (transformed.failed()) return kNoMemory;
  int status = kDone;
  together(map->threads, map->threads, map->batch * map->pixels * channels, [&](Team& team, int) {
    const Scratch scratch(16 * (patch + sum));
    if (scratch.failed()) __atomic_store_n(&status, kNoMemory, __ATOMIC_RELAXED);
    float *patches = scratch.data(), *sums = patches + 16 * patch;
    team.step(channels * out / kPanel, [&](int64_t task) {
      transform_kernels(kernels, task / channels * kPanel, task % channels, transformed.data() + task * kPanel,
                        channels * out);
    });
    team.step(groups, [&](int64_t task) {
      if (scratch.failed()) return;
      const int64_t start = task * group, count = smaller(group, tiles - start);
      const auto each = [&](auto step) {
        for (int64_t i = 0; i < count; ++i) {
          const int64_t b = (start + i) / (down * across), at = (start + i) % (down * across);
          step(i, b, at / across * 2, at % across * 2);
        }
      };
      each([&](int64_t i, int64_t b, int64_t h, int64_t w) {
        float* to = patches + i * channels;
        transform_patch(x + b * map->pixels * first, h - 1, w - 1, height, width, first, to, patch);
        if (second == 0) return;
        transform_patch(beside + b * map->pixels * second, h - 1, w - 1, height, width, second, to + first, patch);
      });
      for (int64_t k = 0; k < 16; ++k) {
        for (int64_t o = 0; o < out; o += kPanel) {
          const float* panel = transformed.data() + (k * out + o) * channels;
          for (int64_t i = 0; i < count; i += kRows) {  // rows behind the last tile are computed and ignored
            multiply(patches + k * patch + i * channels, panel, channels, sums + k * sum + i * out + o, out);
          }
        }
      }
      each([&](int64_t i, int64_t b, int64_t h, int64_t w) {
        transform_sums(sums + i * out, sum, bias, y + ((b * height + h) * width + w) * out, smaller(2, height - h),
                       smaller(2, width - w), width, out);
      });
    });
  });
  return status;
}
