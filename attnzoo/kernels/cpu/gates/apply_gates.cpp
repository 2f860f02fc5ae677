// y = [relu](x * (blended(channel) * blended(spatial) + offset) [+ shortcut]), in one pass over the maps, where blended(g) =
// blend * g + (1 - blend); and its gradient. y may be x itself.
#include "../kernel.h"

namespace attnzoo {
namespace ATTNZOO_ISA {

// The gates: channel (batch, channels), spatial (batch, pixels) or null. With blend = 0 both count as 1, with blend = 1 as
// what they are, exactly.
struct Gates {
  const float *channel, *spatial;
  float blend, offset;
  float rest() const { return 1 - blend; }
  float blended(float gate) const { return blend * gate + rest(); }
  template <int N> F<N> blended(F<N> gate) const { return blend * gate + rest(); }
};

// The operations on the product: a map is added, then values below `least` are set to `least`.
template <class T> struct Finish {
  const T* shortcut;  // may be null
  float least;        // 0 for a ReLU, -inf for none
};

// One row of x: the product with what factor(i) gives at vector i, finished. NaN passes the ReLU, as in torch.
// Where y is x, the last vector must be read before the one that it overlaps is written.
template <int N, bool Added, class T, class At>
ATTNZOO_HOT void apply_row(const T* x, const T* shortcut, float least, T* y, int64_t length, At factor) {
  const auto step = [&](int64_t i, F<N> v) {
    v *= factor(i);
    if constexpr (Added) v += load<N>(shortcut + i);
    store<N>(y + i, larger<N>(all<N>(least), v));
  };
  const F<N> last = load<N>(x + length - N);
  int64_t i = 0;
  for (; i + 4 * N <= length; i += 4 * N) {
#pragma GCC unroll 4
    for (int slot = 0; slot < 4; ++slot) step(i + slot * N, load<N>(x + i + slot * N));
  }
  for (; i + N <= length; i += N) step(i, load<N>(x + i));
  if (i < length) step(length - N, last);
}

template <bool Added, class T>
int apply(const T* x, Gates gates, Finish<T> finish, T* y, const AttnzooMap& map) {
  const int64_t length = map.channels_last ? map.channels : map.pixels;
  const int64_t stride = map.channels_last ? map.pixels : map.channels;
  const Chunks rows(map.batch * stride, kTask / length);
  parallel(map.threads, rows.count, rows.length * length, [&](int64_t task) {
    with_lanes(length, [&](auto vector) {
      constexpr int N = lanes(decltype(vector){});
      for (int64_t r = rows.begin(task), end = r + rows.extent(task); r < end; ++r) {
        const int64_t b = r / stride;
        const T *from = x + r * length, *added = Added ? finish.shortcut + r * length : nullptr;
        const float* across = map.channels_last ? gates.channel + b * length
                                                : (gates.spatial ? gates.spatial + b * length : nullptr);
        const float* whole = map.channels_last ? gates.spatial : gates.channel;  // one value a row
        const float fixed = whole ? gates.blended(whole[r]) : 1;
        const F<N> scale = all<N>(fixed * gates.blend), offset = all<N>(fixed * gates.rest() + gates.offset);
        if (across == nullptr) {
          const F<N> same = all<N>(fixed + gates.offset);
          apply_row<N, Added>(from, added, finish.least, y + r * length, length, [&](int64_t) { return same; });
        } else {
          apply_row<N, Added>(from, added, finish.least, y + r * length, length,
                              [&](int64_t i) { return scale * load<N>(across + i) + offset; });
        }
      }
    });
  }, true);  // the data that was pooled last is still in the cache
  return kDone;
}

// The condition for a gradient to pass the ReLU, if there is one.
enum Mask {
  kSums,          // everywhere, and the gradient of the map itself is not wanted
  kEverywhere,
  kProduct,       // the product, computed again, is not <= 0
  kOutput,        // the output is not <= 0: something was added to the product
};

// Where the gradients of the blended gates go: channel (batch, channels) = sum over pixels of dy * x * blended(spatial);
// spatial (batch, pixels) = sum over channels of dy * x * blended(channel), null if there is none. dy is what comes through
// the ReLU.
struct Sums {
  float *channel, *spatial;
};

// The maps that the gradient reads and writes; y and d_shortcut, which receives dy as it comes through, for kOutput only.
template <class T> struct Maps {
  const T *dy, *x, *y;
  T *dx, *d_shortcut;
  Maps at(int64_t i) const {
    return {dy + i, x + i, y ? y + i : y, dx ? dx + i : dx, d_shortcut ? d_shortcut + i : d_shortcut};
  }
};

// dy at vector i as it comes through the ReLU, given x and the factor there.
template <int N, Mask Through, class T> inline F<N> incoming(const Maps<T>& maps, int64_t i, F<N> x, F<N> factor) {
  const F<N> d = load<N>(maps.dy + i);
  if constexpr (Through <= kEverywhere) return d;
  const F<N> y = Through == kOutput ? load<N>(maps.y + i) : x * factor;
  const F<N> through = where<N>(~(y <= all<N>(0)), d);
  if constexpr (Through == kOutput) store<N>(maps.d_shortcut + i, through);
  return through;
}

// One channel of NCHW, `pixels` of it; `fixed` is its gate, blended.
template <int N, bool Spatial, Mask Through, class T>
ATTNZOO_HOT void backward_row(const Maps<T>& maps, float fixed, Gates gates, Sums sums, int64_t pixels) {
  F<N> weighted[4] = {};
  sweep<N, 4>(pixels, [&](int64_t i, int slot, auto fresh) {
    const F<N> v = load<N>(maps.x + i);
    if constexpr (Spatial) {
      const F<N> s = gates.blended<N>(load<N>(gates.spatial + i)), factor = fixed * s + gates.offset;
      const F<N> d = incoming<N, Through>(maps, i, v, factor), product = fresh(d * v);
      weighted[slot] += product * s;
      store<N>(sums.spatial + i, load<N>(sums.spatial + i) + product * fixed);
      if constexpr (Through != kSums) store<N>(maps.dx + i, d * factor);
    } else {
      const F<N> factor = all<N>(fixed + gates.offset), d = incoming<N, Through>(maps, i, v, factor);
      weighted[slot] += fresh(d * v);
      if constexpr (Through != kSums) store<N>(maps.dx + i, d * factor);
    }
  });
  *sums.channel = sum<N>((weighted[0] + weighted[1]) + (weighted[2] + weighted[3]));
}

// The sums alone, of R channels that lie `stride` apart.
template <int N, int R, class T>
ATTNZOO_HOT void sum_rows(const Maps<T>& maps, int64_t stride, const float* gate, Gates gates, Sums sums, int64_t pixels) {
  F<N> weighted[R][2] = {};
  float fixed[R];
  for (int r = 0; r < R; ++r) fixed[r] = gates.blended(gate[r]);
  sweep<N, 2>(pixels, [&](int64_t i, int slot, auto fresh) {
    const F<N> s = gates.blended<N>(load<N>(gates.spatial + i));
    F<N> across = load<N>(sums.spatial + i);
    for (int r = 0; r < R; ++r) {
      const F<N> product = fresh(load<N>(maps.dy + r * stride + i) * load<N>(maps.x + r * stride + i));
      weighted[r][slot] += product * s;
      across += product * fixed[r];
    }
    store<N>(sums.spatial + i, across);
  });
  for (int r = 0; r < R; ++r) sums.channel[r] = sum<N>(weighted[r][0] + weighted[r][1]);
}

// One pixel of a channels-last map, whose gate is `fixed`, blended; adds to the sums over pixels.
template <int N, bool Spatial, Mask Through, class T>
ATTNZOO_HOT void backward_pixel(const Maps<T>& maps, float fixed, Gates gates, Sums sums, int64_t channels) {
  F<N> across = {};
  sweep<N>(channels, [&](int64_t c, int, auto fresh) {
    const F<N> v = load<N>(maps.x + c), g = gates.blended<N>(load<N>(gates.channel + c));
    const F<N> factor = fixed * g + gates.offset;
    const F<N> d = incoming<N, Through>(maps, c, v, factor), product = fresh(d * v);
    store<N>(sums.channel + c, load<N>(sums.channel + c) + product * fixed);
    if constexpr (Spatial) across += product * g;
    if constexpr (Through != kSums) store<N>(maps.dx + c, d * factor);
  });
  if constexpr (Spatial) *sums.spatial = sum<N>(across);
}

template <bool Spatial, Mask Through, class T>
int apply_backward(const Maps<T>& maps, Gates gates, Sums sums, const AttnzooMap& map) {
  const int64_t channels = map.channels, pixels = map.pixels;
  const Chunks chunks = map.channels_last ? pixel_chunks(pixels, channels) : Chunks(pixels, kRun);
  const SumOfChunks channel(sums.channel, map.batch, chunks.count, channels);
  if (channel.failed()) return kNoMemory;
  parallel(map.threads, map.batch * chunks.count, map.batch * channels * pixels, [&](int64_t task) {
    const int64_t b = task / chunks.count, k = task % chunks.count, p = chunks.begin(k), n = chunks.extent(k);
    const int64_t at = b * pixels + p;
    float* channel_row = channel.row(b, k);
    Gates own = gates;
    own.channel += b * channels;
    if (map.channels_last) {
      for (int64_t c = 0; c < channels; ++c) channel_row[c] = 0;
      with_lanes(channels, [&](auto vector) {
        for (int64_t i = 0; i < n; ++i) {
          const Sums here{channel_row, Spatial ? sums.spatial + at + i : nullptr};
          const float fixed = Spatial ? gates.blended(gates.spatial[at + i]) : 1;
          backward_pixel<lanes(decltype(vector){}), Spatial, Through>(maps.at((at + i) * channels), fixed, own, here,
                                                                      channels);
        }
      });
    } else {
      alignas(64) float part[Spatial ? kRun : 1];  // the spatial sum over some channels, added to the whole in turn
      if (Spatial) {
        own.spatial += at;
        for (int64_t i = 0; i < n; ++i) sums.spatial[at + i] = part[i] = 0;
      }
      with_lanes(n, [&](auto vector) {
        constexpr int N = lanes(decltype(vector){});
        for (int64_t c = 0; c < channels; ++c) {
          const Sums here{channel_row + c, part};
          const Maps<T> row = maps.at((b * channels + c) * pixels + p);
          if (Spatial && Through == kSums && c + kChannels <= channels) {
            sum_rows<N, kChannels>(row, pixels, own.channel + c, own, here, n);
            c += kChannels - 1;
          } else {
            backward_row<N, Spatial, Through>(row, own.blended(own.channel[c]), own, here, n);
          }
          if (Spatial && (c % kChain == kChain - 1 || c == channels - 1)) {
            for (int64_t i = 0; i < n; ++i) sums.spatial[at + i] += part[i];
            for (int64_t i = 0; i < n; ++i) part[i] = 0;
          }
        }
      });
    }
  });
  channel.join();
  return kDone;
}

template <Mask Through, class T> int with_gates(const Maps<T>& maps, Gates gates, Sums sums, const AttnzooMap& map) {
  return gates.spatial ? apply_backward<true, Through>(maps, gates, sums, map)
                       : apply_backward<false, Through>(maps, gates, sums, map);
}

}  // namespace ATTNZOO_ISA
}  // namespace attnzoo

using namespace attnzoo::ATTNZOO_ISA;

// channel: (batch, channels). spatial: (batch, pixels) or null. shortcut: a map, or null.
ATTNZOO_EXPORT(apply_gates)(const AttnzooMap* map, const void* x, const float* channel, const float* spatial,
                            float blend, float offset, const void* shortcut, int relu, void* y) {
  return with_storage(map->dtype, [&](auto type) {
    using T = typename decltype(type)::Type;
    const Gates gates{channel, spatial, blend, offset};
    const Finish<T> finish{type.in(shortcut), relu ? 0 : kLowest};
    return shortcut ? apply<true>(type.in(x), gates, finish, type.out(y), *map)
                    : apply<false>(type.in(x), gates, finish, type.out(y), *map);
  });
}

// The gradients of the blended gates; see Sums. dx may be null where there is no ReLU. y and d_shortcut are maps where
// something was added before a ReLU, else null.
ATTNZOO_EXPORT(apply_gates_backward)(const AttnzooMap* map, const void* dy, const void* x, const float* channel,
                                     const float* spatial, float blend, float offset, const void* y, int relu, void* dx,
                                     float* d_channel, float* d_spatial, void* d_shortcut) {
  return with_storage(map->dtype, [&](auto type) {
    using T = typename decltype(type)::Type;
    const Maps<T> maps{type.in(dy), type.in(x), type.in(y), type.out(dx), type.out(d_shortcut)};
    const Gates gates{channel, spatial, blend, offset};
    const Sums sums{d_channel, d_spatial};
    if (dx == nullptr) return with_gates<kSums>(maps, gates, sums, *map);
    if (y) return with_gates<kOutput>(maps, gates, sums, *map);
    return relu ? with_gates<kProduct>(maps, gates, sums, *map) : with_gates<kEverywhere>(maps, gates, sums, *map);
  });
}
