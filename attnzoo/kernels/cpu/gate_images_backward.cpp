// The gradient of SE or CBAM, image by image: two passes over x and dy at most before the one that writes dx.
#include "gates.h"

ATTNZOO_EXPORT(apply_gates_backward)(const AttnzooMap*, const void*, const void*, const float*, const float*, float,
                                     float, float, const void*, int, void*, float*, float*, float*, void*);
ATTNZOO_EXPORT(squeeze_channels_backward)(const AttnzooMap*, const void*, const void*, const float*, const float*,
                                          const float*, const float*, void*, float*);
ATTNZOO_EXPORT(spatial_conv_backward)(int64_t, int64_t, int64_t, int64_t, int, const float*, const float*, const float*,
                                      float*, float*);

// The gradients, as launch_gates.py packs them, like what they are the gradients of. Those of weights may be null: what
// is not there, or not wanted.
struct AttnzooGradients {
  const void* dy;
  void *dx, *reduce, *expand, *reduce_bias, *expand_bias;
  void* weight;  // (2, size, size), of the convolution
  void *bias, *gain, *shift;
  int64_t plane, row, column;  // strides of the weight's
};

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

template <class T>
void multiply(const T* matrix, int64_t columns, int64_t rows, const float* vectors, int64_t count, float* out) {
  with_lanes(columns, [&](auto vector) {
    constexpr int N = lanes(decltype(vector){});
    int64_t c = 0;
    for (; c + 2 * N <= columns; c += 2 * N) column<N, 2>(matrix + c, columns, rows, vectors, count, out + c);
    for (; c + N <= columns; c += N) column<N, 1>(matrix + c, columns, rows, vectors, count, out + c);
    if (c < columns) column<N, 1>(matrix + columns - N, columns, rows, vectors, count, out + columns - N);
  });
}

// One row of the gradient of a matrix: the sum over `count` pairs of a[v * stride] * vectors[v]; and `times` that of a.
template <class T>
void outer(const float* a, int64_t stride, const float* vectors, int64_t count, int64_t columns, T* row, float times,
           T* bias) {
  if (bias) {
    float total = 0;
    for (int64_t v = 0; v < count; ++v) total += a[v * stride];
    store<1>(bias, all<1>(times * total));
  }
  if (row == nullptr) return;
  with_lanes(columns, [&](auto vector) {
    constexpr int N = lanes(decltype(vector){});
    sweep<N, 4>(columns, [&](int64_t c, int, auto) {
      F<N> total = {};
      for (int64_t v = 0; v < count; ++v) total += a[v * stride] * load<N>(vectors + v * columns + c);
      store<N>(row + c, total);
    });
  });
}

// What the gradient says of a channel, and of a pixel: dL/dx = channel.shift + [x == high] * channel.share, plus gate
// times the same of the pixel, where x * gate is compared.
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

template <int N, bool Spatial, class T, class Channel, class Pixel>
ATTNZOO_HOT void gradient_row(const T* dy, const T* x, float offset, bool maxima, T* dx, int64_t length, Channel channel,
                              Pixel pixel) {
  sweep<N>(length, [&](int64_t i, int, auto) {
    const Term<N> c = channel(i);
    const F<N> d = load<N>(dy + i);
    F<N> gradient = c.shift;
    if constexpr (Spatial) {
      const Term<N> p = pixel(i);
      const F<N> v = load<N>(x + i);
      gradient += d * (c.gate * p.gate + offset);
      gradient += c.gate * (p.shift + where<N>(v * c.gate == p.high, p.share));
      if (maxima) gradient += where<N>(v == c.high, c.share);
    } else {
      gradient += d * (c.gate + offset);
      if (maxima) gradient += where<N>(load<N>(x + i) == c.high, c.share);
    }
    store<N>(dx + i, gradient);
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
      for (int64_t p = 0; p < pixels; ++p) {
        const int64_t at = p * channels;
        const Term<N> same = Spatial ? pixel.fixed<N>(p) : Term<N>{};
        gradient_row<N, Spatial>(dy + at, x + at, offset, maxima, dx + at, channels,
                                 [&](int64_t c) { return channel.across<N>(c); }, [&](int64_t) { return same; });
      }
    });
    return;
  }
  const Chunks chunks(pixels, kRun);
  for (int64_t k = 0; k < chunks.count; ++k) {
    const int64_t first = chunks.begin(k), n = chunks.extent(k);
    with_lanes(n, [&](auto vector) {
      constexpr int N = lanes(decltype(vector){});
      for (int64_t c = 0; c < channels; ++c) {
        const int64_t at = c * pixels + first;
        const Term<N> same = channel.fixed<N>(c);
        gradient_row<N, Spatial>(dy + at, x + at, offset, maxima, dx + at, n, [&](int64_t) { return same; },
                                 [&](int64_t i) { return pixel.across<N>(first + i); });
      }
    });
  }
}

// shift and share of `count` averages over `over` values and of the maxima beside them; NaN where a maximum is NaN, as
// the gradient of amax.
inline void divide(const float* d_mean, const float* d_high, const float* ties, int64_t over, int64_t count,
                   float* shift, float* share) {
  for (int64_t i = 0; i < count; ++i) {
    shift[i] = d_mean[i] / over;
    share[i] = d_high ? d_high[i] / ties[i] : 0;
    if (d_high && ties[i] == 0) shift[i] = share[i] = __builtin_nanf("");
  }
}

// d = the gradient of what goes into the sigmoid, from that of the gate; sums: of d, and of d times the normal.
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

}  // namespace ATTNZOO_ISA
}  // namespace attnzoo

using namespace attnzoo::ATTNZOO_ISA;

// dx, and the gradients of the weights, from the state that gate_images left in training.
ATTNZOO_EXPORT(gate_images_backward)(const AttnzooGate* call, const AttnzooGradients* out) {
  const int64_t channels = call->channels, height = call->height, pixels = height * call->width;
  const int64_t image_bytes = channels * pixels * bytes(call->dtype), batch = call->batch, hidden = call->hidden;
  const float offset = (float)call->offset;
  const void *dy = out->dy, *x = call->x;
  void* dx = out->dx;
  const State state(call->state, batch, *call);
  const Groups groups(*call);
  const int64_t each = state.each, planar = call->size ? pixels : 0, taps = 2 * call->size * call->size;
  Spatial norm(*call);
  norm.center = state.whole[0];
  norm.factor = state.whole[1];
  const AttnzooMap image = call->map(1, 1);

  // of every image: gate and its gradient, and the sums of the latter, for the pixels; weights; gradients of the channel
  // gate, of what is pooled, of what goes into the ReLU; what came out of it
  const int64_t own = 2 * planar + 2 + taps + channels + (hidden ? each * (channels + hidden) + hidden : 0);
  const Scratch scratch(batch * own);
  if (scratch.failed()) return kNoMemory;
  float *mask = scratch.data(), *d_mask = mask + batch * planar, *sums = d_mask + batch * planar;
  float *d_weight = sums + batch * 2, *d_channel = d_weight + batch * taps, *d_pooled = d_channel + batch * channels;
  float *d_inner = d_pooled + (hidden ? batch * each * channels : 0), *inner = d_inner + batch * each * hidden;

  int status = kDone;
  const auto check = [&](int failed) {
    if (failed) __atomic_store_n(&status, failed, __ATOMIC_RELAXED);
  };
  const auto of = [&](const void* p, int64_t i) { return (char*)p + i * image_bytes; };

  // What y says of both gates.
  const auto gates = [&](int64_t i) {
    float *spatial = planar ? mask + i * pixels : nullptr, *d_spatial = planar ? d_mask + i * pixels : nullptr;
    const float* logits = state.logits + i * pixels;
    if (planar) spatial_gate(norm, logits, pixels, spatial);
    check(ATTNZOO_NAME(apply_gates_backward, ATTNZOO_ISA)(
        &image, of(dy, i), of(x, i), state.channel + i * channels, spatial, 1, offset, 0, nullptr, 0, nullptr,
        d_channel + i * channels, d_spatial, nullptr, nullptr));
    if (planar) through_sigmoid(norm, spatial, logits, d_spatial, pixels, sums + 2 * i);
  };
  // What the convolution says of the channel gate.
  const auto convolution = [&](int64_t i, const double* numbers, float* d_planes, float* more) {
    float* d = d_mask + i * pixels;
    through_norm(norm, state.logits + i * pixels, numbers, batch * pixels, d, pixels);
    const float* planes = state.planes + i * 2 * pixels;
    check(ATTNZOO_NAME(spatial_conv_backward, ATTNZOO_ISA)(1, height, call->width, call->size, 1, planes,
                                                           norm.weight, d, d_planes, d_weight + i * taps));
    if (hidden == 0) return;
    check(ATTNZOO_NAME(squeeze_channels_backward, ATTNZOO_ISA)(&image, of(x, i), nullptr, state.channel + i * channels,
                                                               planes, state.shared + i * pixels, d_planes, nullptr,
                                                               more));
    for (int64_t c = 0; c < channels; ++c) d_channel[i * channels + c] += more[c];
  };
  // Back through the bottleneck, for the images [first, first + count).
  const auto bottleneck = [&](auto type, int64_t first, int64_t count) {
    using T = typename decltype(type)::Type;
    float *d = d_channel + first * channels, *into = d_inner + first * each * hidden, *after = inner + first * hidden;
    const float *gate = state.channel + first * channels, *before = state.inner + first * each * hidden;
    for (int64_t i = 0; i < count * channels; ++i) d[i] *= gate[i] * (1 - gate[i]);
    multiply((const T*)call->expand, hidden, channels, d, count, after);
    for (int64_t i = 0; i < count; ++i) {
      for (int64_t h = 0; h < hidden; ++h) {
        const float back = after[i * hidden + h];
        float out = 0;
        for (int64_t k = 0; k < each; ++k) {
          const int64_t at = (i * each + k) * hidden + h;
          into[at] = before[at] > 0 ? back : 0;
          out += before[at] < 0 ? 0 : before[at];
        }
        after[i * hidden + h] = out;
      }
    }
    multiply((const T*)call->reduce, channels, hidden, into, count * each, d_pooled + first * each * channels);
  };
  // The gradient of the map.
  const auto finish = [&](int64_t i, const float* d_planes, float* terms) {
    float *shift = terms, *share = shift + channels, *far = share + channels, *near = far + planar;
    const float *pooled = state.pooled + i * each * channels, *d = d_pooled + i * each * channels;
    const bool maxima = hidden && call->maxima;
    for (int64_t c = 0; c < 2 * channels && !hidden; ++c) terms[c] = 0;
    if (hidden)
      divide(d, maxima ? d + channels : nullptr, state.ties + i * channels, pixels, channels, shift, share);
    const Terms channel{state.channel + i * channels, shift, share, maxima ? pooled + channels : shift};
    const Terms pixel{mask + i * pixels, far, near, state.planes + (2 * i + 1) * pixels};
    if (planar) divide(d_planes, d_planes + pixels, state.shared + i * pixels, channels, pixels, far, near);
    check(with_storage((int)call->dtype, [&](auto type) {
      const auto *from = type.in(of(dy, i)), *of_x = type.in(of(x, i));
      auto* to = type.out(of(dx, i));
      if (planar) gradient<true>(from, of_x, offset, maxima, channel, pixel, to, image);
      else gradient<false>(from, of_x, offset, maxima, channel, pixel, to, image);
      return kDone;
    }));
  };
  const auto weights = [&](auto type, Team& team) {
    using T = typename decltype(type)::Type;
    T *reduce = type.out(out->reduce), *expand = type.out(out->expand);
    T *reduce_bias = type.out(out->reduce_bias), *expand_bias = type.out(out->expand_bias);
    team.each(hidden, false, [&](int64_t h) {
      outer(d_inner + h, hidden, state.pooled, batch * each, channels, reduce ? reduce + h * channels : nullptr, 1,
            reduce_bias ? reduce_bias + h : nullptr);
    });
    team.each(channels, false, [&](int64_t c) {  // the bias was added for each of what was pooled
      outer(d_channel + c, channels, inner, batch, hidden, expand ? expand + c * hidden : nullptr, each,
            expand_bias ? expand_bias + c : nullptr);
    });
    return kDone;
  };

  together((int)call->threads, groups.count, batch * channels * pixels, [&](Team team) {
    const Scratch local(2 * planar * groups.size + channels + 2 * channels + 2 * planar);
    if (local.failed()) check(kNoMemory);
    const int64_t count = local.failed() ? 0 : groups.count;
    float *d_planes = local.data(), *more = d_planes + 2 * planar * groups.size, *terms = more + channels;
    double numbers[2] = {};
    const auto rest = [&](int64_t group) {
      const int64_t first = groups.begin(group), n = groups.extent(group);
      for (int64_t i = 0; i < n && planar; ++i) convolution(first + i, numbers, d_planes + 2 * i * planar, more);
      if (hidden) check(with_storage((int)call->type, [&](auto type) { return bottleneck(type, first, n), kDone; }));
      for (int64_t i = n - 1; i >= 0; --i) finish(first + i, d_planes + 2 * i * planar, terms);
    };
    team.each(count, false, [&](int64_t group) {
      for (int64_t i = 0; i < groups.extent(group); ++i) gates(groups.begin(group) + i);
      if (!norm.batch) rest(group);
    });
    if (norm.batch) {
      team.wait();
      for (int64_t i = 0; i < batch; ++i)
        for (int k = 0; k < 2; ++k) numbers[k] += sums[2 * i + k];
      team.each(count, true, rest);
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
    put(out->bias, 0, norm.batch ? 0 : shift * norm.factor * norm.gain);  // the batch's average takes a bias out
    put(out->gain, 0, gain);
    put(out->shift, 0, shift);
    return kDone;
  }));
  return status;
}
