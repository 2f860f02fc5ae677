// The arithmetic of CEDNN's block on one tile: four vectors of pixels of every channel. Channels are planes, so that groups
// of any size are efficient and both permutations are only strides.
#pragma once

#include "../kernel.h"

namespace attnzoo {
namespace ATTNZOO_ISA {

constexpr int kVectors = 4;
constexpr int kTile = kVectors * kLanes;
#if defined(__AVX512F__)
constexpr int kBlock = 6;  // channels computed together from the same loads; 24 sums of 32 registers
#else
constexpr int kBlock = 3;  // 12 sums of 16 registers
#endif

using V = F<kLanes>;

// NaN stays NaN, as in torch.
inline V relu(V v) { return larger<kLanes>(V{}, v); }

// A strip holds rows of the map with zeros around. A grid says where in it the neighbour (dy, dx) of a tile's vector lies;
// (1, 1) is the pixel itself. A tile is given by its first pixel, counted along rows of `stride`, a little longer than
// the map's: what comes out at a row's end is dropped.
//
// Here a row is one zero and the map's row; the next row's zero is this one's right margin.
struct Rows {
  static constexpr bool kPooled = false;
  static constexpr int64_t kStep = kTile;  // pixels of the output that a tile makes
  int64_t stride, plane = 0;
  explicit Rows(int64_t width) : stride(width + 1) {}
  const float* at(const float* p, int v, int dy, int dx) const { return p + dy * stride + dx + v * kLanes; }
};

// For 2x2 pooling: the four vectors of a tile are the four corners of its windows, each a plane of the strip of its own,
// so that pooling is a maximum over registers. Planes: odd and even rows, odd and even columns, counted from -1.
struct Windows {
  static constexpr bool kPooled = true;
  static constexpr int64_t kStep = kLanes;
  int64_t stride, plane = 0;
  explicit Windows(int64_t width) : stride(width / 2 + 1) {}
  const float* at(const float* p, int v, int dy, int dx) const {
    const int r = v / 2 + dy, c = v % 2 + dx;
    return p + (r % 2 * 2 + c % 2) * plane + r / 2 * stride + c / 2;
  }
};

// A convolution with its norm: weight, and scale and shift of its output.
struct Stage {
  const float *weight, *scale, *shift;
};

// A strip: channel c of the block is channel c % channels of it.
struct Strip {
  const float* data;
  int64_t channels, size;
  const float* channel(int64_t c) const { return data + c % channels * size; }
};

template <int O> struct Count { static constexpr int value = O; };

// Calls kernel with the number of channels as a constant, 1 to kBlock.
template <class Kernel> inline void with_count(int64_t count, Kernel kernel) {
  switch (count) {
    case 1: return kernel(Count<1>{});
    case 2: return kernel(Count<2>{});
    case 3: return kernel(Count<3>{});
#if defined(__AVX512F__)
    case 4: return kernel(Count<4>{});
    case 5: return kernel(Count<5>{});
    case 6: return kernel(Count<6>{});
#endif
  }
}

// `length` channels cut into blocks of nearly equal size, kBlock at most.
struct Blocks {
  int64_t length, count;
  explicit Blocks(int64_t length) : length(length), count(ceil_div(length, kBlock)) {}
  int64_t begin(int64_t block) const { return block * length / count; }
  int64_t extent(int64_t block) const { return begin(block + 1) - begin(block); }
};

template <int O> ATTNZOO_HOT void clear(V (&sums)[O][kVectors]) {
#pragma GCC unroll 6
  for (int o = 0; o < O; ++o) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) sums[o][v] = V{};
  }
}

template <int O> ATTNZOO_HOT void add(V (&sums)[O][kVectors], const V (&row)[kVectors], const float* w, int64_t stride) {
#pragma GCC unroll 6
  for (int o = 0; o < O; ++o) {
    const float factor = w[o * stride];
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) sums[o][v] += row[v] * factor;
  }
}

// sums = 3x3 convolution of a group of `members` channels that begins at `first`, by the weights of O channels.
template <int O, class Grid>
ATTNZOO_HOT void correlate(V (&sums)[O][kVectors], const Grid& grid, const Strip& strip, int64_t pixel, int64_t first,
                           int64_t members, const float* weight) {
  clear<O>(sums);
  for (int64_t i = 0; i < members; ++i) {
    const float* p = strip.channel(first + i) + pixel;
    const float* w = weight + i * 9;
#pragma GCC unroll 3
    for (int dy = 0; dy < 3; ++dy) {
#pragma GCC unroll 3
      for (int dx = 0; dx < 3; ++dx) {
        V row[kVectors];
#pragma GCC unroll 4
        for (int v = 0; v < kVectors; ++v) row[v] = load<kLanes>(grid.at(p, v, dy, dx));
        add<O>(sums, row, w + dy * 3 + dx, members * 9);
      }
    }
  }
}

// z (O, kTile) = relu(norm(3x3 convolution)) of O channels of a group of `members` that begins at `first`; `o` is the
// block's channel that z begins with.
template <int O, class Grid>
ATTNZOO_HOT void convolve(const Grid& grid, const Strip& strip, int64_t pixel, int64_t first, int64_t members,
                          const Stage& stage, int64_t o, float* z) {
  V sums[O][kVectors];
  correlate<O>(sums, grid, strip, pixel, first, members, stage.weight + o * members * 9);
#pragma GCC unroll 6
  for (int k = 0; k < O; ++k) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v)
      store<kLanes>(z + k * kTile + v * kLanes, relu(sums[k][v] * stage.scale[o + k] + stage.shift[o + k]));
  }
}

// sums += weight (O, depth) times rows (depth, kTile), which lie `apart`. The weights behind these O rows are the next
// to be read: they are asked for, since rows are too short for the processor to see it coming.
template <int O>
ATTNZOO_HOT void multiply(V (&sums)[O][kVectors], const float* weight, const float* rows, int64_t apart, int64_t depth) {
  for (int64_t k = 0; k < depth; ++k, rows += apart) {
    V row[kVectors];
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) row[v] = load<kLanes>(rows + v * kLanes);
    if (k % 16 == 0) {
#pragma GCC unroll 6
      for (int o = 0; o < O; ++o) __builtin_prefetch(weight + (O + o) * depth + k);
    }
    add<O>(sums, row, weight + k, depth);
  }
}

// t = relu(norm(grouped 1x1 convolution of z) [+ shortcut]) for O channels of partition `member`: the channels
// member + k * members, k from `begin`.
template <int O, class Grid>
ATTNZOO_HOT void mix(const Grid& grid, const Strip& strip, int64_t pixel, int64_t members, int64_t groups,
                     int64_t member, int64_t begin, bool shortcut, const Stage& stage, const float* z, float* t) {
  V sums[O][kVectors];
  clear<O>(sums);
  const int64_t row = member * groups + begin;
  multiply<O>(sums, stage.weight + row * groups, z + member * kTile, members * kTile, groups);
#pragma GCC unroll 6
  for (int o = 0; o < O; ++o) {
    const int64_t channel = (begin + o) * members + member;
    const float* p = strip.channel(channel) + pixel;
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      V y = sums[o][v] * stage.scale[row + o] + stage.shift[row + o];
      if (shortcut) y += load<kLanes>(grid.at(p, v, 1, 1));
      store<kLanes>(t + channel * kTile + v * kLanes, relu(y));
    }
  }
}

// t (kTile) = relu of one channel of the strip: the second half of a dense connection.
template <class Grid> ATTNZOO_HOT void pass(const Grid& grid, const float* channel, int64_t pixel, float* t) {
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v)
    store<kLanes>(t + v * kLanes, relu(load<kLanes>(grid.at(channel + pixel, v, 1, 1))));
}

// Where the lanes of a vector go: runs of pixels between the ends of rows.
struct Landing {
  struct Run {
    int lane, count;
    int64_t to;
  };
  Run runs[kLanes / 2 + 1];
  int count = 0;
  I<kLanes> mask = {};

  // The vector of output pixels from `pixel` on, of `rows` rows of `width` that lie `stride` apart.
  Landing() = default;
  Landing(int64_t pixel, int64_t rows, int64_t width, int64_t stride) {
    for (int lane = 0; lane < kLanes;) {
      const int64_t row = (pixel + lane) / stride, column = (pixel + lane) % stride;
      if (row >= rows) break;
      const int length = (int)smaller(kLanes - lane, width - column);
      if (length > 0) {
        runs[count++] = {lane, length, row * width + column};
        for (int k = lane; k < lane + length; ++k) mask[k] = -1;
      }
      lane += (int)smaller(kLanes - lane, stride - column);
    }
  }
};

inline void store_lanes(float* to, V v, int lane, int count) {
  if (count == kLanes) return store<kLanes>(to, v);
#if defined(__AVX512F__)
  _mm512_mask_storeu_ps(to - lane, (__mmask16)(((1u << count) - 1) << lane), (__m512)v);
#else
  float lanes[kLanes];
  store<kLanes>(lanes, v);
  for (int k = 0; k < count; ++k) to[k] = lanes[lane + k];
#endif
}

template <class T> inline void store_lanes(T* to, V v, int lane, int count) {
  T lanes[kLanes];
  store<kLanes>(lanes, v);
  for (int k = 0; k < count; ++k) to[k] = lanes[lane + k];
}

template <class T> inline void land(const Landing& landing, T* out, V v) {
  for (int k = 0; k < landing.count; ++k) {
    const Landing::Run& run = landing.runs[k];
    store_lanes(out + run.to, v, run.lane, run.count);
  }
}

// O output channels of a tile from t (depth, kTile): relu(norm(1x1 convolution)), pooled if the grid is. The channels lie
// `area` apart in `out`. `totals` (O, kLanes), if given, gathers what is not yet pooled.
template <int O, class Grid, class T>
ATTNZOO_HOT void fuse(const Landing* landings, const Stage& stage, int64_t o, int64_t depth, const float* t, T* out,
                      int64_t area, float* totals) {
  V sums[O][kVectors];
  clear<O>(sums);
  multiply<O>(sums, stage.weight + o * depth, t, kTile, depth);
#pragma GCC unroll 6
  for (int k = 0; k < O; ++k) {
    V y[kVectors], total = {};
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      y[v] = relu(sums[k][v] * stage.scale[o + k] + stage.shift[o + k]);
      if (Grid::kPooled) {
        total += y[v];
      } else {
        total += (V)((I<kLanes>)y[v] & landings[v].mask);
        land(landings[v], out + (o + k) * area, y[v]);
      }
    }
    if (Grid::kPooled) {
      const V high = larger<kLanes>(larger<kLanes>(y[0], y[1]), larger<kLanes>(y[2], y[3]));
      land(landings[0], out + (o + k) * area, total != total ? total : high);  // nothing is negative: NaN is NaN's
      total = (V)((I<kLanes>)total & landings[0].mask);
    }
    if (totals) store<kLanes>(totals + k * kLanes, load<kLanes>(totals + k * kLanes) + total);
  }
}

}  // namespace ATTNZOO_ISA
}  // namespace attnzoo
