// y = x * (scale * channel * spatial + offset), in one read and one write of the map; and its gradient.
#include "kernel.h"

namespace attnzoo {
namespace ATTNZOO_ISA {

// The gates: channel (batch, channels), spatial (batch, pixels) or null. scale = 1 and offset = 0 multiply by both.
struct Gates {
  const float *channel, *spatial;
  float scale, offset;
  float shift = 0;  // only for the sum over the blend's gradient
};

template <class T> int apply(const T* x, Gates gates, T* y, const AttnzooMap& map) {
  const int64_t length = map.channels_last ? map.channels : map.pixels;
  const int64_t stride = map.channels_last ? map.pixels : map.channels;
  const Chunks rows(map.batch * stride, kTask / length);
  parallel(map.threads, rows.count, rows.length * length, [&](int64_t task) {
    with_lanes(length, [&](auto vector) {
      constexpr int N = lanes(decltype(vector){});
      for (int64_t r = rows.begin(task), end = r + rows.extent(task); r < end; ++r) {
        const int64_t b = r / stride;
        const T* from = x + r * length;
        T* to = y + r * length;
        const float* across = map.channels_last ? gates.channel + b * length
                                                : (gates.spatial ? gates.spatial + b * length : nullptr);
        const float* whole = map.channels_last ? gates.spatial : gates.channel;  // one value a row
        const F<N> fixed = all<N>(gates.scale * (whole ? whole[r] : 1)), offset = all<N>(gates.offset);
        if (across == nullptr) {
          sweep<N, 4>(length, [&](int64_t i, int, auto) { store<N>(to + i, load<N>(from + i) * (fixed + offset)); });
        } else {
          sweep<N, 4>(length, [&](int64_t i, int, auto) {
            store<N>(to + i, load<N>(from + i) * (fixed * load<N>(across + i) + offset));
          });
        }
      }
    });
  });
  return kDone;
}

// Where the gradients go: dx like x; channel (batch, channels) = sum over pixels of dy * x * spatial; spatial (batch,
// pixels) = sum over channels of dy * x * channel; blend (batch, channels) = sum over pixels of dy * x * (channel *
// spatial + shift). spatial and blend may be null, blend is not looked at where there is no spatial gate.
struct Sums {
  float *channel, *spatial, *blend;
};

// One channel of NCHW, `pixels` of it.
template <int N, bool Spatial, class T>
ATTNZOO_HOT void backward_row(const T* dy, const T* x, float gate, Gates gates, T* dx, Sums sums, int64_t pixels) {
  F<N> weighted[4] = {}, blend[4] = {};
  const float fixed = gates.scale * gate;
  sweep<N, 4>(pixels, [&](int64_t i, int slot, auto fresh) {
    const F<N> d = load<N>(dy + i), product = fresh(d * load<N>(x + i));
    if constexpr (Spatial) {
      const F<N> s = load<N>(gates.spatial + i);
      weighted[slot] += product * s;
      blend[slot] += product * (gate * s + gates.shift);
      store<N>(sums.spatial + i, load<N>(sums.spatial + i) + product * gate);
      store<N>(dx + i, d * (fixed * s + gates.offset));
    } else {
      weighted[slot] += product;
      store<N>(dx + i, d * (fixed + gates.offset));
    }
  });
  *sums.channel = sum<N>((weighted[0] + weighted[1]) + (weighted[2] + weighted[3]));
  if (Spatial && sums.blend) *sums.blend = sum<N>((blend[0] + blend[1]) + (blend[2] + blend[3]));
}

// One pixel of a channels-last map; adds to the sums over pixels.
template <int N, bool Spatial, class T>
ATTNZOO_HOT void backward_pixel(const T* dy, const T* x, float spatial, Gates gates, T* dx, Sums sums, int64_t channels) {
  F<N> across = {};
  const float fixed = gates.scale * spatial;
  sweep<N>(channels, [&](int64_t c, int, auto fresh) {
    const F<N> d = load<N>(dy + c), g = load<N>(gates.channel + c), product = fresh(d * load<N>(x + c));
    store<N>(sums.channel + c, load<N>(sums.channel + c) + product * spatial);
    if constexpr (Spatial) {
      across += product * g;
      if (sums.blend) store<N>(sums.blend + c, load<N>(sums.blend + c) + product * (g * spatial + gates.shift));
    }
    store<N>(dx + c, d * (fixed * g + gates.offset));
  });
  if constexpr (Spatial) *sums.spatial = sum<N>(across);
}

template <bool Spatial, class T>
int apply_backward(const T* dy, const T* x, Gates gates, T* dx, Sums sums, const AttnzooMap& map) {
  const int64_t channels = map.channels, pixels = map.pixels;
  const Chunks chunks = map.channels_last ? pixel_chunks(pixels, channels) : Chunks(pixels, kRun);
  const SumOfChunks channel(sums.channel, map.batch, chunks.count, channels);
  const SumOfChunks blend(sums.blend, map.batch, chunks.count, channels);
  if (channel.failed() || blend.failed()) return kNoMemory;
  parallel(map.threads, map.batch * chunks.count, map.batch * channels * pixels, [&](int64_t task) {
    const int64_t b = task / chunks.count, k = task % chunks.count, p = chunks.begin(k), n = chunks.extent(k);
    const int64_t at = b * pixels + p;
    float *channel_row = channel.row(b, k), *blend_row = blend.row(b, k);
    Gates own = gates;
    own.channel += b * channels;
    if (map.channels_last) {
      for (int64_t c = 0; c < channels; ++c) channel_row[c] = 0;
      if (blend_row) for (int64_t c = 0; c < channels; ++c) blend_row[c] = 0;
      with_lanes(channels, [&](auto vector) {
        for (int64_t i = 0; i < n; ++i) {
          const int64_t from = (at + i) * channels;
          const Sums here{channel_row, Spatial ? sums.spatial + at + i : nullptr, blend_row};
          backward_pixel<lanes(decltype(vector){}), Spatial>(dy + from, x + from, Spatial ? gates.spatial[at + i] : 1,
                                                             own, dx + from, here, channels);
        }
      });
    } else {
      alignas(64) float part[Spatial ? kRun : 1];  // the spatial sum over some channels, added to the whole in turn
      if (Spatial) {
        own.spatial += at;
        for (int64_t i = 0; i < n; ++i) sums.spatial[at + i] = part[i] = 0;
      }
      with_lanes(n, [&](auto vector) {
        for (int64_t c = 0; c < channels; ++c) {
          const int64_t from = (b * channels + c) * pixels + p;
          const Sums here{channel_row + c, part, blend_row ? blend_row + c : nullptr};
          backward_row<lanes(decltype(vector){}), Spatial>(dy + from, x + from, own.channel[c], own, dx + from, here, n);
          if (Spatial && (c % kChain == kChain - 1 || c == channels - 1)) {
            for (int64_t i = 0; i < n; ++i) sums.spatial[at + i] += part[i];
            for (int64_t i = 0; i < n; ++i) part[i] = 0;
          }
        }
      });
    }
  });
  channel.join();
  blend.join();
  return kDone;
}

}  // namespace ATTNZOO_ISA
}  // namespace attnzoo

using namespace attnzoo::ATTNZOO_ISA;

// channel: (batch, channels). spatial: (batch, pixels) or null.
ATTNZOO_EXPORT(apply_gates)(const AttnzooMap* map, const void* x, const float* channel, const float* spatial,
                            float scale, float offset, void* y) {
  return with_storage(map->dtype, [&](auto type) {
    return apply(type.in(x), Gates{channel, spatial, scale, offset}, type.out(y), *map);
  });
}

// The gradients before scale is applied to them; see Sums.
ATTNZOO_EXPORT(apply_gates_backward)(const AttnzooMap* map, const void* dy, const void* x, const float* channel,
                                     const float* spatial, float scale, float offset, float shift, void* dx,
                                     float* d_channel, float* d_spatial, float* blend) {
  return with_storage(map->dtype, [&](auto type) {
    const Gates gates{channel, spatial, scale, offset, shift};
    const Sums sums{d_channel, d_spatial, blend};
    return spatial ? apply_backward<true>(type.in(dy), type.in(x), gates, type.out(dx), sums, *map)
                   : apply_backward<false>(type.in(dy), type.in(x), gates, type.out(dx), sums, *map);
  });
}
