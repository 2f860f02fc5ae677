// Shared by the training passes of CEDNN's block. A norm, which needs the whole batch's moments, separates two passes: each
// pass reads the maps of the one before, applies that norm while reading, and sums up the moments for the next norm. Maps
// are contiguous, float32.
#pragma once

#include "strip.h"

// The arguments of a pass: sizes, and the tensors that it reads or fills, described at the passes; the others are ignored.
// `height` and `width` are those of the block's map, for the last pass those of `kept`.
struct AttnzooIgcStep {
  int64_t batch, channels, height, width, groups, outputs;
  int32_t dense, pool, threads;
  const float *x, *weight, *transposed, *flipped, *affine, *third, *signs, *terms, *means, *dy;
  float *a, *b, *kept, *y, *dt, *dz, *dx, *d_weight;  // outputs of the passes, most of which later passes read
  double *moments, *sums;
};

namespace attnzoo {
namespace ATTNZOO_ISA {

constexpr int64_t kTilePixels = 512;      // pixels of a tile, about
constexpr int64_t kTileFloats = 1 << 17;  // floats of all channels of a tile: half of a core's cache of 1 MB
constexpr int64_t kPartPixels = 4096;     // pixels whose sums are in one row, about

alignas(64) constexpr int32_t kFirstLanes[32] = {-1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1,
                                                0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0};

// The first `count` lanes, zeros behind them.
inline V first_lanes(V v, int64_t count) {
  return count >= kLanes ? v : (V)((I<kLanes>)v & raw<I<kLanes>>(kFirstLanes + 16 - count));
}
inline V load_first(const float* p, int64_t count) {
  if (count >= kLanes) return load<kLanes>(p);
  V v = {};
  __builtin_memcpy(&v, p, count * sizeof(float));
  return v;
}
inline void store_first(float* p, V v, int64_t count) {
  if (count >= kLanes) return store<kLanes>(p, v);
  __builtin_memcpy(p, &v, count * sizeof(float));
}

// Sums over parts of the batch: a row of T per part, added in the order of the parts, so that the result does not depend on
// the number of threads.
template <class T> class Parts {
 public:
  Parts(int64_t parts, int64_t length)
      : parts_(parts), length_(length), data_((T*)calloc((size_t)(parts * length), sizeof(T))) {}
  ~Parts() { free(data_); }
  Parts(const Parts&) = delete;
  bool failed() const { return data_ == nullptr; }
  T* row(int64_t part) const { return data_ + part * length_; }
  void join(T* to, int threads) const {
    const Chunks chunks(length_, kChunk);
    parallel(threads, chunks.count, parts_ * length_, [&](int64_t chunk) {
      const int64_t from = chunks.begin(chunk), count = chunks.extent(chunk);
      double totals[kChunk + kLanes] = {};
      for (int64_t k = 0; k < parts_; ++k) {
        const T* own = row(k) + from;
        for (int64_t i = 0; i < count; ++i) totals[i] += own[i];
      }
      for (int64_t i = 0; i < count; ++i) to[from + i] = (T)totals[i];
    });
  }
  int64_t parts() const { return parts_; }

 private:
  static constexpr int64_t kChunk = 1024;
  int64_t parts_, length_;
  T* data_;
};

// Count, mean and sum of squared deviations of some numbers; all zero for none.
struct Moment {
  double count, mean, squares;
  void join(const Moment& other) {
    const double both = count + other.count, apart = other.mean - mean;
    if (both == 0) return;
    squares += other.squares + apart * apart * count * other.count / both;
    mean += apart * other.count / both;
    count = both;
  }
};

// The second pass corrects the rounding error of the first pass's mean, which for constant maps does not average out.
ATTNZOO_HOT Moment moment_of_piece(const float* row, int64_t count) {
  V total = {}, second = {};
  int64_t i = 0;
  for (; i + 2 * kLanes <= count; i += 2 * kLanes) {
    total += load<kLanes>(row + i);
    second += load<kLanes>(row + i + kLanes);
  }
  for (; i < count; i += kLanes) total += load_first(row + i, count - i);
  const float mean = sum<kLanes>(total + second) / (float)count;
  V rest[2] = {}, squares[2] = {};
  for (i = 0; i + 2 * kLanes <= count; i += 2 * kLanes) {
    const V a = load<kLanes>(row + i) - mean, b = load<kLanes>(row + i + kLanes) - mean;
    rest[0] += a;
    rest[1] += b;
    squares[0] += a * a;
    squares[1] += b * b;
  }
  for (; i < count; i += kLanes) {
    const V a = first_lanes(load_first(row + i, count - i) - mean, count - i);
    rest[0] += a;
    squares[0] += a * a;
  }
  const double off = sum<kLanes>(rest[0] + rest[1]) / (double)count;
  const double deviations = sum<kLanes>(squares[0] + squares[1]) - off * off * (double)count;
  return {(double)count, mean + off, deviations < 0 ? 0 : deviations};
}

// In pieces, to keep rounding errors of sums small.
inline Moment moment(const float* row, int64_t count) {
  constexpr int64_t piece = 64 * kLanes;
  Moment all = {};
  for (int64_t i = 0; i < count; i += piece) all.join(moment_of_piece(row + i, smaller(piece, count - i)));
  return all;
}

// moments (2, channels): means, and variances by the number itself.
inline void join_moments(const Parts<Moment>& parts, int64_t channels, double* moments) {
  for (int64_t c = 0; c < channels; ++c) {
    Moment all = {};
    for (int64_t k = 0; k < parts.parts(); ++k) all.join(parts.row(k)[c]);
    moments[c] = all.mean;
    moments[channels + c] = all.squares / all.count;
  }
}

// The images cut into tiles of whole rows, and these into parts.
struct Tiles {
  int64_t pixels, width, rows, tiles, share, parts;  // of an image; tiles of a part
  // `channels`: of all buffers of a tile together.
  Tiles(const AttnzooIgcStep& step, int64_t channels) : pixels(step.height * step.width), width(step.width) {
    const int64_t wanted = smaller(kTilePixels, larger(kTile, kTileFloats / channels));
    const int64_t unit = step.pool ? 2 : 1;
    rows = larger(1, wanted / (unit * width)) * unit;
    tiles = ceil_div(step.height, rows);
    parts = larger(1, pixels / kPartPixels);
    share = ceil_div(tiles, parts);
    parts = ceil_div(tiles, share);
  }
  int64_t apart() const { return ceil_div(smaller(rows * width, pixels), kTile) * kTile; }  // floats of a buffer's row
  int64_t begin(int64_t tile) const { return tile * rows * width; }
  int64_t extent(int64_t tile) const { return smaller(rows * width, pixels - begin(tile)); }
};

// Calls work(part, image, tile, scratch) for every tile, those of a part in order and with the same scratch.
template <class Work>
int each_tile(const AttnzooIgcStep& step, const Tiles& tiles, int64_t floats, Work work) {
  int status = kDone;
  const int64_t elements = step.batch * step.channels * tiles.pixels;
  parallel(step.threads, step.batch * tiles.parts, elements, [&](int64_t part) {
    const Scratch scratch(floats);
    if (scratch.failed()) {
      __atomic_store_n(&status, kNoMemory, __ATOMIC_RELAXED);
      return;
    }
    const int64_t image = part / tiles.parts, from = part % tiles.parts * tiles.share;
    for (int64_t tile = from; tile < smaller(from + tiles.share, tiles.tiles); ++tile)
      work(part, image, tile, scratch.data());
  });
  return status;
}

// out (outputs rows) = weight (outputs, depth) times the rows of in, whose distances are given, over a tile.
ATTNZOO_HOT void product(const float* weight, int64_t outputs, int64_t depth, const float* in, int64_t in_apart,
                         float* out, int64_t out_apart, int64_t pixels) {
  const Blocks blocks(outputs);
  for (int64_t p = 0; p < pixels; p += kTile) {
    for (int64_t k = 0; k < blocks.count; ++k) {
      const int64_t o = blocks.begin(k);
      with_count(blocks.extent(k), [&](auto count) {
        constexpr int O = decltype(count)::value;
        V sums[O][kVectors];
        clear<O>(sums);
        multiply<O>(sums, weight + o * depth, in + p, in_apart, depth);
#pragma GCC unroll 6
        for (int i = 0; i < O; ++i) {
#pragma GCC unroll 4
          for (int v = 0; v < kVectors; ++v) store<kLanes>(out + (o + i) * out_apart + p + v * kLanes, sums[i][v]);
        }
      });
    }
  }
}

// z = relu(norm(a)) for a tile; all rows are padded by zeros.
ATTNZOO_HOT void activate(const float* a, float scale, float shift, const float* shortcut, int64_t pixels,
                          int64_t apart, float* z) {
  for (int64_t p = 0; p < pixels; p += kLanes) {
    V y = load_first(a + p, pixels - p) * scale + shift;
    if (shortcut) y += load_first(shortcut + p, pixels - p);
    store<kLanes>(z + p, first_lanes(relu(y), pixels - p));
  }
  for (int64_t p = ceil_div(pixels, kLanes) * kLanes; p < apart; p += kLanes) store<kLanes>(z + p, V{});
}

// t, which the third convolution reads: of a2, normalised, and x.
ATTNZOO_HOT void connect(const AttnzooIgcStep& step, const float* a2, const float* x, const float* affine,
                         int64_t image, int64_t from, int64_t pixels, int64_t apart, float* t) {
  const int64_t area = step.height * step.width, channels = step.channels;
  for (int64_t c = 0; c < channels; ++c) {
    const int64_t at = (image * channels + c) * area + from;
    activate(a2 + at, affine[c], affine[channels + c], step.dense ? nullptr : x + at, pixels, apart, t + c * apart);
    if (step.dense) activate(x + at, 1, 0, nullptr, pixels, apart, t + (channels + c) * apart);
  }
}

// The strips of a group's channels, and the bands that they are cut into.
struct Bands {
  Rows grid;
  int64_t members, rows, bands, size, height;
  explicit Bands(const AttnzooIgcStep& step)
      : grid(step.width), members(step.channels / step.groups), height(step.height) {
    const int64_t fit = (kTileFloats / 2) / (2 * members * grid.stride) - 2;
    bands = ceil_div(height, larger(8, fit));
    rows = ceil_div(height, bands);
    bands = ceil_div(height, rows);
    size = channel_size(grid, rows);
  }
  int64_t made() const { return ceil_div(rows * grid.stride, kTile) * kTile; }  // floats of a channel's output
  // out (members, made()) = 3x3 convolution of the strips by weight (members, members, 3, 3)
  ATTNZOO_HOT void convolve(const float* weight, const float* strips, int64_t rows, float* out) const {
    const Blocks blocks(members);
    const Strip strip{strips, members, size};
    for (int64_t k = 0; k < blocks.count; ++k) {
      const int64_t o = blocks.begin(k);
      with_count(blocks.extent(k), [&](auto count) {
        constexpr int O = decltype(count)::value;
        for (int64_t p = 0; p < rows * grid.stride; p += kTile) {
          V sums[O][kVectors];
          correlate<O>(sums, grid, strip, p, 0, members, weight + o * members * 9);
#pragma GCC unroll 6
          for (int i = 0; i < O; ++i) {
#pragma GCC unroll 4
            for (int v = 0; v < kVectors; ++v) store<kLanes>(out + (o + i) * made() + p + v * kLanes, sums[i][v]);
          }
        }
      });
    }
  }
};

// Calls work(image, group, band, scratch), each time with other scratch.
template <class Work> int each_band(const AttnzooIgcStep& step, const Bands& bands, int64_t floats, Work work) {
  int status = kDone;
  const int64_t elements = step.batch * step.channels * step.height * step.width;
  parallel(step.threads, step.batch * step.groups * bands.bands, elements, [&](int64_t task) {
    const Scratch scratch(floats);
    if (scratch.failed()) {
      __atomic_store_n(&status, kNoMemory, __ATOMIC_RELAXED);
      return;
    }
    const int64_t plane = task / bands.bands;
    work(plane / step.groups, plane % step.groups, task % bands.bands, scratch.data());
  });
  return status;
}

}  // namespace ATTNZOO_ISA
}  // namespace attnzoo
