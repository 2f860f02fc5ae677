// Average and maximum of each pixel over its gated channels, without writing x * gate; and their gradient.
#include "../kernel.h"

namespace attnzoo {
namespace ATTNZOO_ISA {

struct Planes {
  float *mean, *high;
  float* ties;  // number of channels that equal the maximum; null: not needed
  Planes at(int64_t pixel) const { return {mean + pixel, high + pixel, ties ? ties + pixel : nullptr}; }
};

// Adds a vector of gated values to the running maximum and its count.
template <int N, class Fresh> inline void take(F<N> v, F<N>& high, F<N>& ties, Fresh fresh) {
  const I<N> above = v > high;
  ties = where<N>(~above, ties) + fresh(where<N>(v >= high, all<N>(1)));
  high = larger<N>(v, high);
}

// `pixels` neighbouring pixels of a map whose channels lie `stride` apart, four channels at a time, from the last ones on: of
// an image that was just pooled, a core's cache holds the end, and what comes next finds the beginning there.
template <int N, class T>
ATTNZOO_HOT void squeeze_rows(const T* x, int64_t stride, const float* gate, int64_t channels, int64_t pixels, Planes out) {
  for (int64_t i = 0; i < pixels; ++i) out.mean[i] = 0;
  for (int64_t i = 0; i < pixels; ++i) out.high[i] = kLowest;
  if (out.ties) for (int64_t i = 0; i < pixels; ++i) out.ties[i] = 0;
  const auto rows = [&](int64_t c, auto many) {
    constexpr int count = lanes(decltype(many){});
    const T* row = x + c * stride;
    sweep<N>(pixels, [&](int64_t i, int, auto fresh) {
      F<N> v[count], total = {}, high = load<N>(out.high + i);
      for (int k = 0; k < count; ++k) v[k] = load<N>(row + k * stride + i) * gate[c + k];
      for (int k = 0; k < count; ++k) total += v[k];
      store<N>(out.mean + i, load<N>(out.mean + i) + fresh(total));
      if (out.ties) {
        F<N> ties = load<N>(out.ties + i);
        for (int k = 0; k < count; ++k) take<N>(v[k], high, ties, fresh);
        store<N>(out.ties + i, ties);
      } else {
        for (int k = 0; k < count; ++k) high = larger<N>(v[k], high);
      }
      store<N>(out.high + i, high);
    });
  };
  int64_t c = channels;
  for (; c % 4; --c) rows(c - 1, Vector<1>{});
  for (; c; c -= 4) rows(c - 4, Vector<4>{});
}

// R pixels of a channels-last map, 1 or as many as a vector has lanes: their lanes are added across one another.
template <int N, int R, class T>
ATTNZOO_HOT void squeeze_pixels(const T* x, const float* gate, int64_t channels, Planes out) {
  F<N> totals[R], highs[R];
  for (int r = 0; r < R; ++r) {
    const T* pixel = x + r * channels;
    F<N> total[4] = {}, high[4];
    for (auto& h : high) h = all<N>(kLowest);
    sweep<N, 4>(channels, [&](int64_t c, int slot, auto fresh) {
      const F<N> v = load<N>(pixel + c) * load<N>(gate + c);
      total[slot] += fresh(v);
      high[slot] = larger<N>(v, high[slot]);
    });
    totals[r] = (total[0] + total[1]) + (total[2] + total[3]);
    highs[r] = larger<N>(larger<N>(high[0], high[1]), larger<N>(high[2], high[3]));
  }
  store<R>(out.mean, across<N, R>(totals, Sum{}));
  store<R>(out.high, across<N, R>(highs, Largest{}));
  if (out.ties == nullptr) return;
  for (int r = 0; r < R; ++r) {
    const float high = out.high[r];
    I<N> count = {};
    sweep<N>(channels, [&](int64_t c, int, auto fresh) {
      count -= fresh((I<N>)(load<N>(x + r * channels + c) * load<N>(gate + c) == high));
    });
    totals[r] = __builtin_convertvector(count, F<N>);
  }
  store<R>(out.ties, across<N, R>(totals, Sum{}));
}

// Divides the sums by the channels, and looks for NaN where a sum says that there may be one.
template <class T>
void finish(const T* x, int64_t pixel_stride, int64_t channel_stride, const float* gate, int64_t channels,
            int64_t pixels, Planes out) {
  bool numbers = true;
  for (int64_t i = 0; i < pixels; ++i) {
    out.mean[i] /= (float)channels;
    numbers &= out.mean[i] == out.mean[i];
  }
  for (int64_t i = 0; i < pixels && !numbers; ++i) {
    if (out.mean[i] == out.mean[i]) continue;
    const T* from = x + i * pixel_stride;
    out.high[i] = largest_or_nan(channels, [&](int64_t c) { return one(from + c * channel_stride) * gate[c]; });
    if (out.ties && out.high[i] != out.high[i]) out.ties[i] = 0;
  }
}

template <class T> int squeeze(const T* x, const float* gate, float* planes, float* ties, const AttnzooMap& map) {
  const int64_t channels = map.channels, pixels = map.pixels;
  const Chunks chunks = map.channels_last ? pixel_chunks(pixels, channels) : Chunks(pixels, kRun);
  parallel(map.threads, map.batch * chunks.count, map.batch * channels * pixels, [&](int64_t task) {
    const int64_t b = task / chunks.count, k = task % chunks.count, p = chunks.begin(k), n = chunks.extent(k);
    float* mean = planes + 2 * b * pixels;
    const Planes out = Planes{mean, mean + pixels, ties ? ties + b * pixels : nullptr}.at(p);
    const float* own = gate + b * channels;
    const T* from = x + b * channels * pixels;
    if (map.channels_last) {
      with_lanes(channels, [&](auto vector) {
        constexpr int N = lanes(decltype(vector){});
        int64_t i = 0;
        for (; i + N <= n; i += N) squeeze_pixels<N, N>(from + (p + i) * channels, own, channels, out.at(i));
        for (; i < n; ++i) squeeze_pixels<N, 1>(from + (p + i) * channels, own, channels, out.at(i));
      });
      finish(from + p * channels, channels, 1, own, channels, n, out);
    } else {
      with_lanes(n, [&](auto vector) {
        squeeze_rows<lanes(decltype(vector){})>(from + p, pixels, own, channels, n, out);
      });
      finish(from + p, 1, pixels, own, channels, n, out);
    }
  });
  return kDone;
}

// The terms of each pixel's gradient: dL/d(gated x) = shift + [gated x == high] * share.
struct Terms {
  const float *shift, *share, *high;
};

// One channel of NCHW: dx = carried + gate * dL/d(gated x), unless dx is null; returns the gate's gradient, summed over
// these pixels.
template <int N, class T>
ATTNZOO_HOT float backward_row(const T* x, const T* carried, float gate, Terms terms, T* dx, int64_t pixels) {
  F<N> total[4] = {};
  sweep<N, 4>(pixels, [&](int64_t i, int slot, auto fresh) {
    const F<N> v = load<N>(x + i);
    const I<N> top = v * gate == load<N>(terms.high + i);
    const F<N> inner = load<N>(terms.shift + i) + where<N>(top, load<N>(terms.share + i));
    total[slot] += fresh(v * inner);
    if (dx == nullptr) return;
    F<N> gradient = inner * gate;
    if (carried) gradient += load<N>(carried + i);
    store<N>(dx + i, gradient);
  });
  return sum<N>((total[0] + total[1]) + (total[2] + total[3]));
}

// The gradient of the gates alone, of R channels that lie `stride` apart.
template <int N, int R, class T>
ATTNZOO_HOT void backward_rows(const T* x, int64_t stride, const float* gate, Terms terms, float* d_gate, int64_t pixels) {
  F<N> total[R][2] = {};
  sweep<N, 2>(pixels, [&](int64_t i, int slot, auto fresh) {
    const F<N> high = load<N>(terms.high + i), shift = load<N>(terms.shift + i), share = load<N>(terms.share + i);
    for (int r = 0; r < R; ++r) {
      const F<N> v = load<N>(x + r * stride + i);
      total[r][slot] += fresh(v * (shift + where<N>(v * gate[r] == high, share)));
    }
  });
  for (int r = 0; r < R; ++r) d_gate[r] = sum<N>(total[r][0] + total[r][1]);
}

// One pixel of a channels-last map; adds to the gradient of all gates.
template <int N, class T>
ATTNZOO_HOT void backward_pixel(const T* x, const T* carried, const float* gate, float shift, float share, float high,
                           T* dx, float* d_gate, int64_t channels) {
  sweep<N>(channels, [&](int64_t c, int, auto fresh) {
    const F<N> v = load<N>(x + c), g = load<N>(gate + c);
    const F<N> inner = shift + where<N>(v * g == high, all<N>(share));
    store<N>(d_gate + c, load<N>(d_gate + c) + fresh(v * inner));
    if (dx == nullptr) return;
    F<N> gradient = inner * g;
    if (carried) gradient += load<N>(carried + c);
    store<N>(dx + c, gradient);
  });
}

template <class T>
int squeeze_backward(const T* x, const T* carried, const float* gate, const float* planes, const float* ties,
                     const float* d_planes, T* dx, float* d_gate, const AttnzooMap& map) {
  const int64_t channels = map.channels, pixels = map.pixels;
  const Chunks chunks = map.channels_last ? pixel_chunks(pixels, channels) : Chunks(pixels, kRun);
  const SumOfChunks gates(d_gate, map.batch, chunks.count, channels);
  const Scratch scratch(2 * map.batch * pixels);
  if (gates.failed() || scratch.failed()) return kNoMemory;
  parallel(map.threads, map.batch * chunks.count, map.batch * channels * pixels, [&](int64_t task) {
    const int64_t b = task / chunks.count, k = task % chunks.count, p = chunks.begin(k), n = chunks.extent(k);
    const int64_t at = b * pixels + p, mean_at = 2 * b * pixels + p, high_at = mean_at + pixels;
    float *shift = scratch.data() + at, *share = shift + map.batch * pixels;
    for (int64_t i = 0; i < n; ++i) {
      shift[i] = d_planes[mean_at + i] / channels;
      share[i] = d_planes[high_at + i] / ties[at + i];
      if (ties[at + i] == 0) shift[i] = share[i] = __builtin_nanf("");  // as amax's gradient where the maximum is NaN
    }
    const float *high = planes + high_at, *own = gate + b * channels;
    float* row = gates.row(b, k);
    if (map.channels_last) {
      for (int64_t c = 0; c < channels; ++c) row[c] = 0;
      with_lanes(channels, [&](auto vector) {
        for (int64_t i = 0; i < n; ++i) {
          const int64_t from = (at + i) * channels;
          backward_pixel<lanes(decltype(vector){})>(x + from, carried ? carried + from : nullptr, own, shift[i],
                                                    share[i], high[i], dx ? dx + from : nullptr, row, channels);
        }
      });
    } else {
      with_lanes(n, [&](auto vector) {
        constexpr int N = lanes(decltype(vector){});
        const T* from = x + b * channels * pixels + p;
        const Terms terms{shift, share, high};
        int64_t c = 0;
        for (; c + kChannels <= channels && dx == nullptr; c += kChannels)
          backward_rows<N, kChannels>(from + c * pixels, pixels, own + c, terms, row + c, n);
        for (; c < channels; ++c) {
          const int64_t at = (b * channels + c) * pixels + p;
          row[c] = backward_row<N>(x + at, carried ? carried + at : nullptr, own[c], terms, dx ? dx + at : nullptr, n);
        }
      });
    }
  });
  gates.join();
  return kDone;
}

}  // namespace ATTNZOO_ISA
}  // namespace attnzoo

using namespace attnzoo::ATTNZOO_ISA;

// gate: (batch, channels). planes: (batch, 2, pixels), averages then maxima. ties: (batch, pixels) or null.
ATTNZOO_EXPORT(squeeze_channels)(const AttnzooMap* map, const void* x, const float* gate, float* planes, float* ties) {
  return with_storage(map->dtype, [&](auto type) { return squeeze(type.in(x), gate, planes, ties, *map); });
}

// dx = carried + gate * (d_mean / channels + [x * gate == high] * d_high / ties), d_gate (batch, channels) the same
// sum with x for gate. carried and dx may be null.
ATTNZOO_EXPORT(squeeze_channels_backward)(const AttnzooMap* map, const void* x, const void* carried, const float* gate,
                                          const float* planes, const float* ties, const float* d_planes, void* dx,
                                          float* d_gate) {
  return with_storage(map->dtype, [&](auto type) {
    return squeeze_backward(type.in(x), type.in(carried), gate, planes, ties, d_planes, type.out(dx), d_gate, *map);
  });
}
