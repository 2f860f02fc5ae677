// A 3x3 convolution of channels-last maps in float32 by Winograd's minimal filtering F(2x2, 3x3): 16 products of
// matrices make four outputs where the definition takes 36. A. Lavin, S. Gray, "Fast Algorithms for Convolutional
// Neural Networks", CVPR 2016. A second map's channels may lie beside the first's, as if the two were concatenated.
#include "kernel.h"

namespace attnzoo {
namespace ATTNZOO_ISA {

constexpr int64_t kPanel = 32;  // output channels whose weights lie together
constexpr int64_t kTiles = 24;  // tiles of 2x2 outputs that are worked on together, so that they stay in L2
constexpr int kRows = kLanes == 16 ? 12 : kLanes == 8 ? 3 : 1;  // of them, as many as the registers hold sums for
constexpr int kWide = kPanel / kLanes;

// One patch of 4x4 pixels, from (top, left) on, of `channels`; the 16 results lie `stride` apart. Outside is 0.
ATTNZOO_HOT void transform_patch(const float* image, int64_t top, int64_t left, int64_t height, int64_t width,
                                 int64_t channels, float* out, int64_t stride) {
  using V = F<kLanes>;
  for (int64_t c = 0; c < channels; c += kLanes) {
    V d[4][4], t[4][4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j) {
        const int64_t h = top + i, w = left + j;
        const bool inside = (uint64_t)h < (uint64_t)height && (uint64_t)w < (uint64_t)width;
        d[i][j] = inside ? load<kLanes>(image + (h * width + w) * channels + c) : V{};
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

// x: map. beside: (batch, second, height, width) or null with second = 0. weights: (16, out / 32, channels, 32),
// transformed. bias: (out) or null. y: (batch, out, height, width). All numbers of channels are multiples of 16, `out`
// of 32.
ATTNZOO_EXPORT(winograd)(const AttnzooMap* map, int64_t height, int64_t second, int64_t out, const float* x,
                         const float* beside, const float* weights, const float* bias, float* y) {
  const int64_t width = map->pixels / height, first = map->channels, channels = first + second;
  const int64_t down = ceil_div(height, 2), across = ceil_div(width, 2), tiles = map->batch * down * across;
  const int64_t blocks = ceil_div(tiles, kTiles), own = 16 * kTiles * (channels + out);
  const int64_t workers = larger(1, smaller(map->threads, blocks));
  const Scratch scratch(workers * own);
  if (scratch.failed()) return kNoMemory;
  parallel(map->threads, workers, map->batch * map->pixels * channels, [&](int64_t worker) {
    float *patches = scratch.data() + worker * own, *sums = patches + 16 * kTiles * channels;
    for (int64_t block = worker; block < blocks; block += workers) {
      const int64_t start = block * kTiles, count = smaller(kTiles, tiles - start);
      const auto each = [&](auto step) {
        for (int64_t i = 0; i < count; ++i) {
          const int64_t b = (start + i) / (down * across), at = (start + i) % (down * across);
          step(i, b, at / across * 2, at % across * 2);
        }
      };
      each([&](int64_t i, int64_t b, int64_t h, int64_t w) {
        float* to = patches + i * channels;
        transform_patch(x + b * map->pixels * first, h - 1, w - 1, height, width, first, to, kTiles * channels);
        if (second == 0) return;
        transform_patch(beside + b * map->pixels * second, h - 1, w - 1, height, width, second, to + first,
                        kTiles * channels);
      });
      for (int64_t k = 0; k < 16; ++k) {
        for (int64_t o = 0; o < out; o += kPanel) {
          const float* panel = weights + (k * out + o) * channels;
          for (int64_t i = 0; i < count; i += kRows) {  // rows behind the last tile are worked on and left alone
            multiply(patches + (k * kTiles + i) * channels, panel, channels, sums + (k * kTiles + i) * out + o, out);
          }
        }
      }
      each([&](int64_t i, int64_t b, int64_t h, int64_t w) {
        transform_sums(sums + i * out, kTiles * out, bias, y + ((b * height + h) * width + w) * out,
                       smaller(2, height - h), smaller(2, width - w), width, out);
      });
    }
  });
  return kDone;
}
