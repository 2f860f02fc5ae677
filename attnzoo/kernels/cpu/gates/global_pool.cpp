// Average and maximum of every channel over its pixels, in one read of the map; and their gradient, in one pass.
#include "../kernel.h"

namespace attnzoo {
namespace ATTNZOO_ISA {

// Prefetches the data one page ahead. The map is read here for the first time, and the processor's prefetcher stops at the
// end of a page.
inline void expect(const void* p) { __builtin_prefetch((const char*)p + 4096); }

struct Moments {
  float* mean;
  float* high;  // null: only the mean is wanted
  float* ties;  // number of pixels that equal the maximum; null: not needed
  Moments at(int64_t row) const { return {mean + row, high ? high + row : nullptr, ties ? ties + row : nullptr}; }
};

// The sums of one row, lane by lane.
template <int N> struct Parts { F<N> total, high; };

// Numbers added one after the other in float; longer sums add such partial sums in double, so that the relative error is at
// most about 5e-7, for maps of any size and for constant ones too.
constexpr int64_t kFloats = 16;

// Of the pixels [from, end), of which there are at most 4 * kFloats * N; from the row's beginning on there are N before end.
template <int N, bool High, class T> ATTNZOO_HOT Parts<N> parts_of_piece(const T* row, int64_t from, int64_t end) {
  F<N> total[4] = {}, high[4];
  for (auto& h : high) h = all<N>(kLowest);
  const auto step = [&](int64_t i, int slot, auto fresh) {
    if (slot * sizeof(T) % 4 == 0) expect(row + i);  // once for each line
    const F<N> v = load<N>(row + i);
    total[slot] += fresh(v);
    if constexpr (High) high[slot] = larger<N>(v, high[slot]);
  };
  sweep<N, 4>(end, step, from);
  return {(total[0] + total[1]) + (total[2] + total[3]),
          larger<N>(larger<N>(high[0], high[1]), larger<N>(high[2], high[3]))};
}

template <int N, bool High, class T> __attribute__((noinline)) Parts<N> parts_of_pieces(const T* row, int64_t pixels) {
  Doubles<N> total;
  F<N> high = all<N>(kLowest);
  for (int64_t from = 0; from < pixels; from += 4 * kFloats * N) {
    const Parts<N> piece = parts_of_piece<N, High>(row, from, smaller(pixels, from + 4 * kFloats * N));
    total.add(piece.total);
    high = larger<N>(piece.high, high);
  }
  return {total.rounded(), high};
}

template <int N, bool High, class T> ATTNZOO_HOT Parts<N> parts_of(const T* row, int64_t pixels) {
  if (pixels > 4 * kFloats * N) return parts_of_pieces<N, High>(row, pixels);
  return parts_of_piece<N, High>(row, 0, pixels);
}

// The number of pixels of a row that equal the maximum, lane by lane.
template <int N, class T> ATTNZOO_HOT F<N> ties_of(const T* row, int64_t pixels, float high) {
  I<N> count = {};
  sweep<N>(pixels, [&](int64_t i, int, auto fresh) { count -= fresh((I<N>)(load<N>(row + i) == high)); });
  return __builtin_convertvector(count, F<N>);
}

// R rows, 1 or as many as a vector has lanes: their lanes are added across one another.
template <int N, int R, bool High, class T> ATTNZOO_HOT void pool_rows(const T* rows, int64_t pixels, Moments out) {
  F<N> total[R], high[R];
  for (int r = 0; r < R; ++r) {
    const Parts<N> parts = parts_of<N, High>(rows + r * pixels, pixels);
    total[r] = parts.total;
    high[r] = parts.high;
  }
  const F<R> whole = across<N, R>(total, Sum{});
  store<R>(out.mean, whole / (float)pixels);
  if (!High) return;
  store<R>(out.high, across<N, R>(high, Largest{}));
  for (int r = 0; r < R; ++r) {
    const T* row = rows + r * pixels;
    if (out.mean[r] != out.mean[r]) out.high[r] = largest_or_nan(pixels, [&](int64_t i) { return one(row + i); });
  }
  if (out.ties == nullptr) return;
  for (int r = 0; r < R; ++r) total[r] = ties_of<N>(rows + r * pixels, pixels, out.high[r]);
  store<R>(out.ties, across<N, R>(total, Sum{}));
}

template <class T> int pool_planar(const T* x, Moments out, const AttnzooMap& map) {
  const Chunks rows(map.batch * map.channels, kTask / map.pixels);
  parallel(map.threads, rows.count, rows.length * map.pixels, [&](int64_t task) {
    with_lanes(map.pixels, [&](auto vector) {
      constexpr int N = lanes(decltype(vector){});
      const auto some = [&](int64_t r, auto many) {
        constexpr int R = lanes(decltype(many){});
        const Moments own = out.at(r);
        if (out.high) return pool_rows<N, R, true>(x + r * map.pixels, map.pixels, own);
        return pool_rows<N, R, false>(x + r * map.pixels, map.pixels, own);
      };
      int64_t r = rows.begin(task);
      const int64_t end = r + rows.extent(task);
      for (; r + N <= end; r += N) some(r, vector);
      for (; r < end; ++r) some(r, Vector<1>{});
    });
  });
  return kDone;
}

constexpr int64_t kBlock = 4 * kFloats;  // pixels whose sums are added in one chain

// Sums, maxima and ties of `pixels` pixels of `channels` channels each, four pixels at a time; `block` has room for sums if
// there are more than kBlock pixels.
template <int N, class T>
ATTNZOO_HOT void pool_columns(const T* x, int64_t pixels, int64_t channels, Moments out, float* block) {
  if (out.high) for (int64_t c = 0; c < channels; ++c) out.high[c] = kLowest;
  for (int64_t from = 0; from < pixels; from += kBlock) {
    const int64_t end = smaller(pixels, from + kBlock);
    float* sums = from == 0 ? out.mean : block;
    for (int64_t c = 0; c < channels; ++c) sums[c] = 0;
    int64_t p = from;
    for (; p + 4 <= end; p += 4) {
      const T* row = x + p * channels;
      sweep<N>(channels, [&](int64_t c, int, auto fresh) {
        for (int k = 0; k < 4; ++k) expect(row + k * channels + c);
        const F<N> v0 = load<N>(row + c), v1 = load<N>(row + channels + c);
        const F<N> v2 = load<N>(row + 2 * channels + c), v3 = load<N>(row + 3 * channels + c);
        store<N>(sums + c, load<N>(sums + c) + fresh((v0 + v1) + (v2 + v3)));
        if (out.high == nullptr) return;
        const F<N> high = larger<N>(larger<N>(v0, v1), larger<N>(v2, v3));
        store<N>(out.high + c, larger<N>(high, load<N>(out.high + c)));
      });
    }
    for (; p < end; ++p) {
      sweep<N>(channels, [&](int64_t c, int, auto fresh) {
        const F<N> v = load<N>(x + p * channels + c);
        store<N>(sums + c, load<N>(sums + c) + fresh(v));
        if (out.high) store<N>(out.high + c, larger<N>(v, load<N>(out.high + c)));
      });
    }
    if (from == 0) continue;
    for (int64_t c = 0; c < channels; ++c) out.mean[c] += sums[c];
  }
  if (out.high == nullptr) return;
  for (int64_t c = 0; c < channels; ++c) {
    if (out.mean[c] != out.mean[c])
      out.high[c] = largest_or_nan(pixels, [&](int64_t i) { return one(x + i * channels + c); });
  }
  if (out.ties == nullptr) return;
  for (int64_t c = 0; c < channels; ++c) out.ties[c] = 0;
  for (int64_t p = 0; p < pixels; ++p) {
    sweep<N>(channels, [&](int64_t c, int, auto fresh) {
      const I<N> equal = load<N>(x + p * channels + c) == load<N>(out.high + c);
      store<N>(out.ties + c, load<N>(out.ties + c) + fresh(where<N>(equal, all<N>(1))));
    });
  }
}

// Joins the moments of a map's chunks, kept as (chunks, 3, channels).
template <int N> ATTNZOO_HOT void join(const float* parts, int64_t chunks, int64_t channels, int64_t pixels, Moments out) {
  const auto total = [&](int64_t c) {
    if (chunks == 1) return load<N>(parts + c);
    Doubles<N> sum;
    for (int64_t k = 0; k < chunks; ++k) sum.add(load<N>(parts + k * 3 * channels + c));
    return sum.rounded();
  };
  sweep<N>(channels, [&](int64_t c, int, auto) {
    store<N>(out.mean + c, total(c) / (float)pixels);
    if (out.high == nullptr) return;
    F<N> high = all<N>(kLowest), ties = {};
    for (int64_t k = 0; k < chunks; ++k) {
      const float* part = parts + k * 3 * channels + c;
      const F<N> next = load<N>(part + channels);
      const I<N> above = (next > high) | (next != next);
      high = above ? next : high;
      if (out.ties) ties = where<N>(~above, ties) + where<N>(next == high, load<N>(part + 2 * channels));
    }
    store<N>(out.high + c, high);
    if (out.ties) store<N>(out.ties + c, ties);
  });
}

template <class T> int pool_interleaved(const T* x, Moments out, const AttnzooMap& map) {
  const int64_t channels = map.channels;
  const Chunks pixels = pixel_chunks(map.pixels, channels);
  const SharedScratch parts(map.threads, map.batch * pixels.count * 3 * channels);
  const SharedScratch blocks(map.threads, pixels.size > kBlock ? map.batch * pixels.count * channels : 0);
  if (parts.failed() || blocks.failed()) return kNoMemory;
  parallel(map.threads, map.batch * pixels.count, map.batch * channels * map.pixels, [&](int64_t task) {
    const int64_t b = task / pixels.count, k = task % pixels.count;
    float* part = parts.data() + task * 3 * channels;
    const T* from = x + (b * map.pixels + pixels.begin(k)) * channels;
    const Moments own{part, out.high ? part + channels : nullptr, out.ties ? part + 2 * channels : nullptr};
    with_lanes(channels, [&](auto vector) {
      pool_columns<lanes(decltype(vector){})>(from, pixels.extent(k), channels, own, blocks.data() + task * channels);
    });
  });
  with_lanes(channels, [&](auto vector) {
    parallel(map.threads, map.batch, map.batch * pixels.count * channels, [&](int64_t b) {
      const int64_t at = b * channels;
      join<lanes(decltype(vector){})>(
          parts.data() + b * pixels.count * 3 * channels, pixels.count, channels, map.pixels,
          {out.mean + at, out.high ? out.high + at : nullptr, out.ties ? out.ties + at : nullptr});
    });
  });
  return kDone;
}

template <int N> struct Term { F<N> shift, share, high; };

// One row of dx = carried + shift + [x == high] * share; term(i) gives the three at vector i.
template <int N, class T, class At>
ATTNZOO_HOT void gradient_row(const T* x, const T* carried, T* dx, int64_t length, At term) {
  sweep<N>(length, [&](int64_t i, int, auto) {
    const Term<N> t = term(i);
    F<N> gradient = t.shift;
    if (x) gradient += where<N>(load<N>(x + i) == t.high, t.share);
    if (carried) gradient += load<N>(carried + i);
    store<N>(dx + i, gradient);
  });
}

template <class T>
int pool_backward(const T* x, const T* carried, const float* shift, const float* share, const float* high, T* dx,
                  const AttnzooMap& map) {
  const int64_t length = map.channels_last ? map.channels : map.pixels;
  const int64_t stride = map.channels_last ? map.pixels : map.channels;
  const Chunks rows(map.batch * stride, kTask / length);
  parallel(map.threads, rows.count, rows.length * length, [&](int64_t task) {
    with_lanes(length, [&](auto vector) {
      constexpr int N = lanes(decltype(vector){});
      for (int64_t r = rows.begin(task), end = r + rows.extent(task); r < end; ++r) {
        const T* from = x ? x + r * length : nullptr;
        const T* added = carried ? carried + r * length : nullptr;
        const int64_t at = r / stride * map.channels;
        if (map.channels_last) {
          gradient_row<N>(from, added, dx + r * length, length, [&](int64_t c) {
            return Term<N>{load<N>(shift + at + c), load<N>(share + at + c), load<N>(high + at + c)};
          });
        } else {
          const Term<N> same{all<N>(shift[r]), all<N>(share[r]), all<N>(high[r])};
          gradient_row<N>(from, added, dx + r * length, length, [&](int64_t) { return same; });
        }
      }
    });
  });
  return kDone;
}

}  // namespace ATTNZOO_ISA
}  // namespace attnzoo

using namespace attnzoo::ATTNZOO_ISA;

// mean, high and ties: (batch, channels). ties may be null, or high and ties.
ATTNZOO_EXPORT(global_pool)(const AttnzooMap* map, const void* x, float* mean, float* high, float* ties) {
  return with_storage(map->dtype, [&](auto type) {
    const Moments out{mean, high, ties};
    return map->channels_last ? pool_interleaved(type.in(x), out, *map) : pool_planar(type.in(x), out, *map);
  });
}

// dx = carried + d_mean / pixels + [x == high] * d_high / ties. carried may be null, or x, d_high, high and ties.
ATTNZOO_EXPORT(global_pool_backward)(const AttnzooMap* map, const void* x, const void* carried, const float* d_mean,
                                     const float* d_high, const float* high, const float* ties, void* dx) {
  const int64_t count = map->batch * map->channels;
  const Scratch scratch(2 * count);
  if (scratch.failed()) return kNoMemory;
  float *shift = scratch.data(), *share = shift + count;
  for (int64_t i = 0; i < count; ++i) {
    shift[i] = d_mean[i] / map->pixels;
    share[i] = x ? d_high[i] / ties[i] : 0;
    if (x && ties[i] == 0) shift[i] = share[i] = __builtin_nanf("");  // the maximum is NaN, as is amax's gradient
  }
  return with_storage(map->dtype, [&](auto type) {
    return pool_backward(type.in(x), type.in(carried), shift, share, x ? high : shift, type.out(dx), *map);
  });
}
