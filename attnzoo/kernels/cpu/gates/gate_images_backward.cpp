// The gradient of SE or CBAM, image by image: at most two passes over x and dy before the pass that writes dx.
#include "gates.h"

ATTNZOO_EXPORT(apply_gates_backward)(const AttnzooMap*, const void*, const void*, const float*, const float*, float,
                                     float, const void*, int, void*, float*, float*, void*);
ATTNZOO_EXPORT(squeeze_channels_backward)(const AttnzooMap*, const void*, const void*, const float*, const float*,
                                          const float*, const float*, void*, float*);
ATTNZOO_EXPORT(spatial_conv_backward)(int64_t, int64_t, int64_t, int64_t, int, const float*, const float*, const float*,
                                      float*, float*);

namespace attnzoo {
namespace ATTNZOO_ISA {

// out (count, columns) = vectors (count, rows) times matrix (rows, columns), for `V` vectors and `J` steps of columns.
template <int N, int J, int V, class T>
ATTNZOO_HOT void block(const T* matrix, int64_t columns, int64_t rows, const float* vectors, float* out) {
  F<N> total[V][J] = {};
  for (int64_t i = 0; i < rows; ++i) {
    F<N> m[J];
    for (int j = 0; j < J; ++j) m[j] = load<N>(matrix + i * columns + j * N);
    for (int v = 0; v < V; ++v)
      for (int j = 0; j < J; ++j) total[v][j] += m[j] * vectors[v * rows + i];
  }
  for (int v = 0; v < V; ++v)
    for (int j = 0; j < J; ++j) store<N>(out + v * columns + j * N, total[v][j]);
}

template <int N, int J, class T>
ATTNZOO_HOT void column(const T* matrix, int64_t columns, int64_t rows, const float* vectors, int64_t count, float* out) {
  int64_t v = 0;
  for (; v + 4 <= count; v += 4) block<N, J, 4>(matrix, columns, rows, vectors + v * rows, out + v * columns);
  for (; v < count; ++v) block<N, J, 1>(matrix, columns, rows, vectors + v * rows, out + v * columns);
}

constexpr int64_t kColumns = 64;  // columns of a matrix per block; the last block takes the rest too

inline int64_t column_blocks(int64_t columns) { return larger(1, columns / kColumns); }

// Columns of block k.
template <class T>
void multiply(const T* matrix, int64_t columns, int64_t rows, const float* vectors, int64_t count, int64_t k, float* out) {
  with_lanes(columns, [&](auto vector) {
    constexpr int N = lanes(decltype(vector){});
    const int64_t end = k == column_blocks(columns) - 1 ? columns : (k + 1) * kColumns;
    int64_t c = k * kColumns;
    for (; c + 2 * N <= end; c += 2 * N) column<N, 2>(matrix + c, columns, rows, vectors, count, out + c);
    for (; c + N <= end; c += N) column<N, 1>(matrix + c, columns, rows, vectors, count, out + c);
    if (c < end) column<N, 1>(matrix + end - N, columns, rows, vectors, count, out + end - N);
  });
}

// R rows of the gradient of a matrix: the sums over `count` pairs of a[v * stride + r] * vectors[v]; and `times` those
// of a.
template <int R, class T>
ATTNZOO_HOT void outer(const float* a, int64_t stride, const float* vectors, int64_t count, int64_t columns, T* rows,
                       float times, T* bias) {
  for (int r = 0; r < R && bias; ++r) {
    float total = 0;
    for (int64_t v = 0; v < count; ++v) total += a[v * stride + r];
    store<1>(bias + r, all<1>(times * total));
  }
  if (rows == nullptr) return;
  with_lanes(columns, [&](auto vector) {
    constexpr int N = lanes(decltype(vector){});
    sweep<N>(columns, [&](int64_t c, int, auto) {
      F<N> total[R] = {};
      for (int64_t v = 0; v < count; ++v) {
        const F<N> right = load<N>(vectors + v * columns + c);
        for (int r = 0; r < R; ++r) total[r] += a[v * stride + r] * right;
      }
      for (int r = 0; r < R; ++r) store<N>(rows + r * columns + c, total[r]);
    });
  });
}

// The gradient of a matrix (rows, columns) and of its bias, by all threads.
template <class T>
void outer(Team& team, const Shares& shares, int64_t rows, const float* a, const float* vectors, int64_t count, int64_t columns, T* matrix,
           float times, T* bias) {
  constexpr int R = 4;
  pieces(team, shares, ceil_div(rows, R), count * rows * columns, [&](int64_t k) {
    const int64_t first = k * R, end = smaller(rows, first + R);
    const auto some = [&](auto many, int64_t r) {
      outer<lanes(decltype(many){})>(a + r, rows, vectors, count, columns, matrix ? matrix + r * columns : nullptr, times,
                                     bias ? bias + r : nullptr);
    };
    if (end - first == R) return some(Vector<R>{}, first);
    for (int64_t r = first; r < end; ++r) some(Vector<1>{}, r);
  });
}

// The terms of the gradient of a channel and of a pixel: dL/dx = channel.shift + [x == high] * channel.share, plus gate
// times the same for the pixel, where x * gate is compared with high. The gates are blended.
template <int N> struct Term { F<N> gate, shift, share, high; };
struct Terms {
  const float *gate, *shift, *share, *high;
  template <int N> Term<N> across(int64_t i) const {
    return {load<N>(gate + i), load<N>(shift + i), load<N>(share + i), load<N>(high + i)};
  }
  template <int N> Term<N> fixed(int64_t i) const {
    return {all<N>(gate[i]), all<N>(shift[i]), all<N>(share[i]), all<N>(high[i])};
  }
};

template <int N, bool Spatial> inline F<N> gradient_of(F<N> d, F<N> v, float offset, bool maxima, Term<N> c, Term<N> p) {
  F<N> gradient = c.shift;
  if constexpr (Spatial) {
    gradient += d * (c.gate * p.gate + offset);
    gradient += c.gate * (p.shift + where<N>(v * c.gate == p.high, p.share));
  } else {
    gradient += d * (c.gate + offset);
  }
  return maxima ? gradient + where<N>(v == c.high, c.share) : gradient;
}

// R rows that lie `stride` apart: channel(i, r) and pixel(i) give the terms at vector i.
template <int N, int R, bool Spatial, class T, class Channel, class Pixel>
ATTNZOO_HOT void gradient_rows(const T* dy, const T* x, int64_t stride, float offset, bool maxima, T* dx, int64_t length,
                               Channel channel, Pixel pixel) {
  const bool looks = Spatial || maxima;
  sweep<N>(length, [&](int64_t i, int, auto) {
    const Term<N> p = pixel(i);
    for (int r = 0; r < R; ++r) {
      const int64_t at = r * stride + i;
      const F<N> v = looks ? load<N>(x + at) : F<N>{};
      store<N>(dx + at, gradient_of<N, Spatial>(load<N>(dy + at), v, offset, maxima, channel(i, r), p));
    }
  });
}

// dx of one image.
template <bool Spatial, class T>
void gradient(const T* dy, const T* x, float offset, bool maxima, Terms channel, Terms pixel, T* dx,
              const AttnzooMap& map) {
  const int64_t channels = map.channels, pixels = map.pixels;
  if (map.channels_last) {
    with_lanes(channels, [&](auto vector) {
      constexpr int N = lanes(decltype(vector){});
      const Chunks some(pixels, kTask / channels);
      parallel(map.threads, some.count, pixels * channels, [&](int64_t k) {
        for (int64_t p = some.begin(k), end = p + some.extent(k); p < end; ++p) {
          const int64_t at = p * channels;
          const Term<N> same = Spatial ? pixel.fixed<N>(p) : Term<N>{};
          gradient_rows<N, 1, Spatial>(dy + at, x + at, 0, offset, maxima, dx + at, channels,
                                       [&](int64_t c, int) { return channel.across<N>(c); },
                                       [&](int64_t) { return same; });
        }
      });
    });
    return;
  }
  const Chunks chunks(pixels, kRun), spans(channels, 4 * kLanes);
  parallel(map.threads, chunks.count * spans.count, pixels * channels, [&](int64_t task) {
    const int64_t k = task / spans.count, span = task % spans.count, end = spans.begin(span) + spans.extent(span);
    const int64_t first = chunks.begin(k), n = chunks.extent(k);
    with_lanes(n, [&](auto vector) {
      constexpr int N = lanes(decltype(vector){});
      const auto rows = [&](int64_t c, auto many) {
        constexpr int R = lanes(decltype(many){});
        Term<N> same[R];
        for (int r = 0; r < R; ++r) same[r] = channel.fixed<N>(c + r);
        const int64_t at = c * pixels + first;
        gradient_rows<N, R, Spatial>(dy + at, x + at, pixels, offset, maxima, dx + at, n,
                                     [&](int64_t, int r) { return same[r]; },
                                     [&](int64_t i) { return Spatial ? pixel.across<N>(first + i) : Term<N>{}; });
      };
      int64_t c = spans.begin(span);
      for (; c + kChannels <= end && Spatial; c += kChannels) rows(c, Vector<kChannels>{});
      for (; c < end; ++c) rows(c, Vector<1>{});
    });
  }, true);  // what was summed last is in the cache still
}

// shift and share of `count` averages over `over` values and of the maxima after them; NaN where a maximum is NaN, as
// the gradient of amax.
inline void divide(const float* d_mean, const float* d_high, const float* ties, int64_t over, int64_t count,
                   float* shift, float* share) {
  for (int64_t i = 0; i < count; ++i) {
    shift[i] = d_mean[i] / over;
    share[i] = d_high ? d_high[i] / ties[i] : 0;
    if (d_high && ties[i] == 0) shift[i] = share[i] = __builtin_nanf("");
  }
}

// d = the gradient of the sigmoid's input, from that of the gate; sums: of d, and of d times the normalised value.
inline void through_sigmoid(const Spatial& norm, const float* gate, const float* logits, float* d,
                            int64_t pixels, float* sums) {
  with_lanes(pixels, [&](auto vector) {
    constexpr int N = lanes(decltype(vector){});
    F<N> shift[4] = {}, gain[4] = {};
    const F<N> last = load<N>(d + pixels - N);
    const auto step = [&](int64_t i, int slot, F<N> incoming, auto fresh) {
      const F<N> g = load<N>(gate + i), u = incoming * g * (1.f - g);
      shift[slot] += fresh(u);
      gain[slot] += fresh(u * ((load<N>(logits + i) - norm.center) * norm.factor));
      store<N>(d + i, u);
    };
    int64_t i = 0;
    for (; i + 4 * N <= pixels; i += 4 * N)
      for (int slot = 0; slot < 4; ++slot) step(i + slot * N, slot, load<N>(d + i + slot * N), AllNew{});
    for (; i + N <= pixels; i += N) step(i, 0, load<N>(d + i), AllNew{});
    if (i < pixels) step(pixels - N, 0, last, last_lanes<N>(pixels - i));
    sums[0] = sum<N>((gain[0] + gain[1]) + (gain[2] + gain[3]));
    sums[1] = sum<N>((shift[0] + shift[1]) + (shift[2] + shift[3]));
  });
}

// d becomes the gradient of the convolution; numbers: of gain and shift, over `count` values.
inline void through_norm(const Spatial& norm, const float* logits, const double* numbers, int64_t count,
                         float* d, int64_t pixels) {
  const float scale = norm.factor * norm.gain;
  if (norm.batch) {
    const float shift = (float)(numbers[1] / count), slope = (float)(numbers[0] / count) * norm.factor;
    for (int64_t i = 0; i < pixels; ++i) d[i] -= shift + slope * (logits[i] - norm.center);
  }
  for (int64_t i = 0; i < pixels; ++i) d[i] *= scale;
}

// dx, and the gradients of the weights, from the state that `gated` left in training.
int gated_backward(const GateCall* call, const GateGradients* out) {
  const int64_t channels = call->channels, height = call->height, pixels = height * call->width;
  const int64_t image_bytes = channels * pixels * bytes(call->dtype), batch = call->batch, hidden = call->hidden;
  const Blend blend(*call);
  const Shares shares(*call);
  const float offset = blend.offset;
  const void *dy = out->dy, *x = call->x;
  void* dx = out->dx;
  const State state(call->state, batch, *call);
  const bool once = at_once(*call);
  const int64_t each = state.each, planar = call->size ? pixels : 0, taps = 2 * call->size * call->size;
  Spatial norm(*call);
  norm.center = state.whole[0];
  norm.factor = state.whole[1];
  const AttnzooMap image = map_of(*call, shares.inside);

  // of every image: gate and its gradient, and the sums of the latter, for the pixels; weights; gradients of the channel
  // gate, of what is pooled, of what goes into the ReLU; what came out of it
  const int64_t own = 2 * planar + 3 + taps + channels + (hidden ? each * (channels + hidden) + hidden : 0) + 2 * planar;
  const int64_t local = 4 * channels + 3 * planar;  // of every thread
  const Scratch scratch(batch * own + call->threads * local);
  if (scratch.failed()) return kNoMemory;
  float *mask = scratch.data(), *d_mask = mask + batch * planar, *sums = d_mask + batch * planar;
  float *d_blend = sums + batch * 2, *d_weight = d_blend + batch, *d_channel = d_weight + batch * taps, *d_pooled = d_channel + batch * channels;
  float *d_inner = d_pooled + (hidden ? batch * each * channels : 0), *inner = d_inner + batch * each * hidden;
  float *d_planes = inner + batch * hidden, *locals = d_planes + batch * 2 * planar;

  int status = kDone;
  const auto check = [&](int failed) {
    if (failed) __atomic_store_n(&status, failed, __ATOMIC_RELAXED);
  };
  const auto of = [&](const void* p, int64_t i) { return (char*)p + i * image_bytes; };

  // The gradient of the blend, and of the gates themselves in place of that of `count` blended gates.
  const auto through_blend = [&](const float* gate, float* d, int64_t count) {
    double total = 0;
    for (int64_t k = 0; k < count; ++k) total += d[k] * (gate[k] - 1);
    for (int64_t k = 0; k < count; ++k) d[k] *= blend.share;
    return total;
  };
  // What is added to the product of the gates has no factor of its own but the blend, times what there was to add.
  const auto of_offset = [&](int64_t i) {
    double total = 0;
    check(with_storage((int)call->dtype, [&](auto type) {
      const auto *d = type.in(of(dy, i)), *v = type.in(of(x, i));
      for (int64_t k = 0; k < channels * pixels; ++k) total += one(d + k) * one(v + k);
      return kDone;
    }));
    return call->offset * total;
  };
  // The gradients of both gates and of their blend, from y.
  const auto gates = [&](int64_t i) {
    float *spatial = planar ? mask + i * pixels : nullptr, *d_spatial = planar ? d_mask + i * pixels : nullptr;
    const float *logits = state.logits + i * pixels, *channel = state.channel + i * channels;
    if (planar) spatial_gate(norm, logits, pixels, spatial);
    check(ATTNZOO_NAME(apply_gates_backward, ATTNZOO_ISA)(&image, of(dy, i), of(x, i), channel, spatial, blend.share, offset,
                                                          nullptr, 0, nullptr, d_channel + i * channels, d_spatial,
                                                          nullptr));
    d_blend[i] = 0;
    if (call->blend) {
      double total = planar ? through_blend(spatial, d_spatial, pixels) : 0;
      if (call->offset != 0 && out->blend) total += of_offset(i);
      d_blend[i] = (float)total;
    }
    if (planar) through_sigmoid(norm, spatial, logits, d_spatial, pixels, sums + 2 * i);
  };
  // The gradient of the channel gate through the convolution; `more` and `room` have a number per channel.
  const auto convolution = [&](int64_t i, const double* numbers, float* more, float* room) {
    float *d = d_mask + i * pixels, *into = d_planes + i * 2 * pixels, *whole = d_channel + i * channels;
    const float *planes = state.planes + i * 2 * pixels, *gate = state.channel + i * channels;
    if (planar) {
      through_norm(norm, state.logits + i * pixels, numbers, batch * pixels, d, pixels);
      check(ATTNZOO_NAME(spatial_conv_backward, ATTNZOO_ISA)(1, height, call->width, call->size, shares.inside,
                                                             planes, norm.weight, d, into, d_weight + i * taps));
    }
    if (hidden == 0) return;
    if (planar) {
      const float* blended = blend.of(gate, channels, room);
      check(ATTNZOO_NAME(squeeze_channels_backward, ATTNZOO_ISA)(&image, of(x, i), nullptr, blended, planes,
                                                                 state.shared + i * pixels, into, nullptr, more));
      for (int64_t c = 0; c < channels; ++c) whole[c] += more[c];
    }
    if (call->blend) d_blend[i] += (float)through_blend(gate, whole, channels);
    for (int64_t c = 0; c < channels; ++c) whole[c] *= gate[c] * (1 - gate[c]);
  };
  // Back through the bottleneck's layers, for the images [first, first + count): some columns of each weight.
  const auto expand = [&](int64_t first, int64_t count, int64_t k) {
    float *into = d_inner + first * each * hidden, *after = inner + first * hidden;
    const float* before = state.inner + first * each * hidden;
    check(with_storage((int)call->type, [&](auto type) {
      multiply(type.in(call->expand), hidden, channels, d_channel + first * channels, count, k, after);
      return kDone;
    }));
    const int64_t end = k == column_blocks(hidden) - 1 ? hidden : (k + 1) * kColumns;
    for (int64_t i = 0; i < count; ++i) {
      for (int64_t h = k * kColumns; h < end; ++h) {
        const float back = after[i * hidden + h];
        float out = 0;
        for (int64_t j = 0; j < each; ++j) {
          const int64_t at = (i * each + j) * hidden + h;
          into[at] = before[at] > 0 ? back : 0;
          out += before[at] < 0 ? 0 : before[at];
        }
        after[i * hidden + h] = out;
      }
    }
  };
  const auto reduce = [&](int64_t first, int64_t count, int64_t k) {
    check(with_storage((int)call->type, [&](auto type) {
      multiply(type.in(call->reduce), channels, hidden, d_inner + first * each * hidden, count * each, k,
               d_pooled + first * each * channels);
      return kDone;
    }));
  };
  // The gradient of the map.
  const auto finish = [&](int64_t i, float* terms) {
    const float* d_mean = d_planes + i * 2 * planar;
    float *shift = terms, *share = shift + channels, *far = share + channels, *near = far + planar;
    const float* gate = blend.of(state.channel + i * channels, channels, near + planar);
    const float* pixel_gate = planar ? blend.of(mask + i * pixels, pixels, near + planar + channels) : nullptr;
    const float *pooled = state.pooled + i * each * channels, *d = d_pooled + i * each * channels;
    const bool maxima = hidden && call->maxima;
    for (int64_t c = 0; c < 2 * channels && !hidden; ++c) terms[c] = 0;
    if (hidden)
      divide(d, maxima ? d + channels : nullptr, state.ties + i * channels, pixels, channels, shift, share);
    const Terms channel{gate, shift, share, maxima ? pooled + channels : shift};
    const Terms pixel{pixel_gate, far, near, state.planes + (2 * i + 1) * pixels};
    if (planar) divide(d_mean, d_mean + pixels, state.shared + i * pixels, channels, pixels, far, near);
    check(with_storage((int)call->dtype, [&](auto type) {
      const auto *from = type.in(of(dy, i)), *of_x = type.in(of(x, i));
      auto* to = type.out(of(dx, i));
      if (planar) gradient<true>(from, of_x, offset, maxima, channel, pixel, to, image);
      else gradient<false>(from, of_x, offset, maxima, channel, pixel, to, image);
      return kDone;
    }));
  };
  const auto weights = [&](auto type, Team& team) {
    outer(team, shares, hidden, d_inner, state.pooled, batch * each, channels, type.out(out->reduce), 1,
          type.out(out->reduce_bias));
    // the bias was added for each of what was pooled
    outer(team, shares, channels, d_channel, inner, batch, hidden, type.out(out->expand), each, type.out(out->expand_bias));
    return kDone;
  };

  together(shares.inside > 1 ? 1 : (int)call->threads, batch, batch * channels * pixels, [&](Team& team, int thread) {
    float *more = locals + thread * local, *terms = more + channels;
    double numbers[2] = {};
    const auto image_by_image = [&](int64_t i) {
      convolution(i, numbers, more, terms);
      for (int64_t k = 0; k < column_blocks(hidden) && hidden; ++k) expand(i, 1, k);
      for (int64_t k = 0; k < column_blocks(channels) && hidden; ++k) reduce(i, 1, k);
      finish(i, terms);
    };
    team.each(batch, true, [&](int64_t i) {  // the previous operation left the end in the cache
      gates(i);
      if (!norm.batch && !once) image_by_image(i);
    });
    if (norm.batch || once) team.wait();
    for (int64_t i = 0; i < batch && norm.batch; ++i)
      for (int k = 0; k < 2; ++k) numbers[k] += sums[2 * i + k];
    if (once) {
      team.each(batch, false, [&](int64_t i) { convolution(i, numbers, more, terms); });
      team.wait();
      pieces(team, shares, column_blocks(hidden), hidden * channels, [&](int64_t k) { expand(0, batch, k); });
      team.wait();
      pieces(team, shares, column_blocks(channels), hidden * channels, [&](int64_t k) { reduce(0, batch, k); });
      team.wait();
      team.each(batch, planar > 0, [&](int64_t i) { finish(i, terms); });
    } else if (norm.batch) {
      team.each(batch, false, image_by_image);
    }
    team.wait();
    if (hidden) check(with_storage((int)call->type, [&](auto type) { return weights(type, team); }));
  });

  check(with_storage((int)call->type, [&](auto type) {
    const auto put = [&](void* to, int64_t at, double value) {
      if (to) store<1>(type.out(to) + at, all<1>((float)value));
    };
    for (int64_t k = 0, size = call->size; k < taps; ++k) {
      float total = 0;
      for (int64_t i = 0; i < batch; ++i) total += d_weight[i * taps + k];
      put(out->weight, k / (size * size) * out->plane + k / size % size * out->row + k % size * out->column, total);
    }
    double gain = 0, shift = 0;
    for (int64_t i = 0; i < batch && planar; ++i) gain += sums[2 * i], shift += sums[2 * i + 1];
    double share = 0;
    for (int64_t i = 0; i < batch && call->blend; ++i) share += d_blend[i];
    put(out->blend, 0, share);
    put(out->bias, 0, norm.batch ? 0 : shift * norm.factor * norm.gain);  // the batch norm cancels a bias
    put(out->gain, 0, gain);
    put(out->shift, 0, shift);
    return kDone;
  }));
  return status;
}

}  // namespace ATTNZOO_ISA
}  // namespace attnzoo
