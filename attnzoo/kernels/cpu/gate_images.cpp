// SE or CBAM, image by image: each stays in a core's cache from the first pass over it to the last, and the threads meet
// only where a norm looks at the whole batch.
#include "gates.h"

ATTNZOO_EXPORT(global_pool)(const AttnzooMap*, const void*, float*, float*, float*);
ATTNZOO_EXPORT(squeeze_channels)(const AttnzooMap*, const void*, const float*, float*, float*);
ATTNZOO_EXPORT(spatial_conv)(int64_t, int64_t, int64_t, int64_t, int, const float*, const float*, float, float*);
ATTNZOO_EXPORT(apply_gates)(const AttnzooMap*, const void*, const float*, const float*, float, float, const void*, int,
                            void*);

namespace attnzoo {
namespace ATTNZOO_ISA {

constexpr int kVectors = 4;                    // vectors that are multiplied together by
constexpr int kWeights = kLanes == 16 ? 4 : 2; // rows of weights; as many sums as there are registers for

// The products of R rows of weights with V vectors, both `length` apart.
template <int N, int R, int V, class T>
ATTNZOO_HOT void block(const T* weight, const float* vectors, int64_t length, float* out, int64_t out_stride) {
  F<N> total[R][V] = {};
  sweep<N>(length, [&](int64_t i, int, auto fresh) {
    F<N> v[V];  // masked as well: infinity times a weight that is masked is NaN
    for (int k = 0; k < V; ++k) v[k] = fresh(load<N>(vectors + k * length + i));
    for (int r = 0; r < R; ++r) {
      const F<N> w = fresh(load<N>(weight + r * length + i));
      for (int k = 0; k < V; ++k) total[r][k] += w * v[k];
    }
  });
  for (int r = 0; r < R; ++r)
    for (int k = 0; k < V; ++k) out[k * out_stride + r] = sum<N>(total[r][k]);
}

template <int N, int R, class T>
ATTNZOO_HOT void rows(const T* weight, const float* vectors, int64_t count, int64_t length, float* out, int64_t stride) {
  int64_t v = 0;
  for (; v + kVectors <= count; v += kVectors)
    block<N, R, kVectors>(weight, vectors + v * length, length, out + v * stride, stride);
  for (; v < count; ++v) block<N, R, 1>(weight, vectors + v * length, length, out + v * stride, stride);
}

// out (count, outs) = the products of `count` vectors with the rows of weight (outs, length), plus bias.
template <class T>
void multiply(const T* weight, const T* bias, float times, const float* vectors, int64_t count, int64_t outs,
              int64_t length, float* out) {
  with_lanes(length, [&](auto vector) {
    constexpr int N = lanes(decltype(vector){});
    int64_t o = 0;
    for (; o + kWeights <= outs; o += kWeights)
      rows<N, kWeights>(weight + o * length, vectors, count, length, out + o, outs);
    for (; o < outs; ++o) rows<N, 1>(weight + o * length, vectors, count, length, out + o, outs);
  });
  if (bias == nullptr) return;
  for (int64_t v = 0; v < count; ++v)
    for (int64_t o = 0; o < outs; ++o) out[v * outs + o] += times * one(bias + o);
}

// The channel gates of `images` images from what was pooled of them. hidden (images, net.hidden).
template <class T>
void channel_gates(const AttnzooBottleneck& net, const float* pooled, int64_t each, int64_t images, int64_t channels,
                   float* inner, float* hidden, float* gates) {
  multiply((const T*)net.reduce, (const T*)net.reduce_bias, 1, pooled, each * images, net.hidden, channels, inner);
  for (int64_t i = 0; i < images; ++i) {
    for (int64_t h = 0; h < net.hidden; ++h) {
      float total = 0;
      for (int64_t k = 0; k < each; ++k) {
        const float v = inner[(i * each + k) * net.hidden + h];
        total += v < 0 ? 0 : v;
      }
      hidden[i * net.hidden + h] = total;
    }
  }
  multiply((const T*)net.expand, (const T*)net.expand_bias, each, hidden, images, channels, net.hidden, gates);
  gate(gates, images * channels, 1, 0, gates);
}

// Average, and sum of the squares of what differs from it.
template <int N> ATTNZOO_HOT void moments(const float* values, int64_t count, float* out) {
  F<N> total[4] = {}, squares[4] = {};
  sweep<N, 4>(count, [&](int64_t i, int slot, auto fresh) { total[slot] += fresh(load<N>(values + i)); });
  out[0] = sum<N>((total[0] + total[1]) + (total[2] + total[3])) / count;
  sweep<N, 4>(count, [&](int64_t i, int slot, auto fresh) {
    const F<N> differs = load<N>(values + i) - out[0];
    squares[slot] += fresh(differs * differs);
  });
  out[1] = sum<N>((squares[0] + squares[1]) + (squares[2] + squares[3]));
}

// Takes center and factor from the moments of the images, and returns the variance.
inline float join(const float* moments, int64_t images, int64_t pixels, double epsilon, Spatial& own) {
  double mean = 0, squares = 0;
  for (int64_t i = 0; i < images; ++i) mean += moments[2 * i] / (double)images;
  for (int64_t i = 0; i < images; ++i) {
    const double differs = moments[2 * i] - mean;
    squares += moments[2 * i + 1] + pixels * differs * differs;
  }
  const double variance = squares / ((double)images * pixels);
  own.center = (float)mean;
  own.factor = Spatial::inverse_root(variance, epsilon);
  return (float)variance;
}

}  // namespace ATTNZOO_ISA
}  // namespace attnzoo

using namespace attnzoo::ATTNZOO_ISA;

// y = x * (channel gate * spatial gate + offset). `training` asks for the whole state: see State.
ATTNZOO_EXPORT(gate_images)(const AttnzooMap* map, int64_t height, int64_t bytes, const AttnzooBottleneck* net,
                            const AttnzooConvolution* conv, const void* x, float offset, int training, float* data,
                            void* y) {
  const int64_t channels = map->channels, pixels = map->pixels, image_bytes = channels * pixels * bytes;
  const State state(data, *map, *net, *conv);
  const Groups groups(*map, bytes);
  const Spatial given(*conv);
  AttnzooMap image = *map;
  image.batch = image.threads = 1;
  int status = kDone;
  const auto check = [&](int failed) {
    if (failed) __atomic_store_n(&status, failed, __ATOMIC_RELAXED);
  };
  const auto from = [&](int64_t i) { return (const char*)x + i * image_bytes; };
  const auto apply = [&](int64_t i, const Spatial& spatial, float* mask) {
    if (mask) spatial_gate(spatial, state.logits + i * pixels, pixels, mask);
    check(ATTNZOO_NAME(apply_gates, ATTNZOO_ISA)(&image, from(i), state.channel + i * channels, mask, 1, offset, nullptr,
                                                 0, (char*)y + i * image_bytes));
  };
  together(map->threads, groups.count, map->batch * channels * pixels, [&](Team team) {
    const Scratch scratch(groups.size * net->hidden + (conv->size ? pixels : 0));
    if (scratch.failed()) check(kNoMemory);
    float *hidden = scratch.data(), *mask = conv->size ? hidden + groups.size * net->hidden : nullptr;
    team.each(scratch.failed() ? 0 : groups.count, false, [&](int64_t group) {
      const int64_t first = groups.begin(group), end = first + groups.extent(group), each = state.each;
      for (int64_t i = first; i < end && net->hidden; ++i) {
        float* to = state.pooled + i * each * channels;
        check(ATTNZOO_NAME(global_pool, ATTNZOO_ISA)(&image, from(i), to, net->maxima ? to + channels : nullptr,
                                                     net->maxima && training ? state.ties + i * channels : nullptr));
      }
      float* gates = state.channel + first * channels;
      if (net->hidden) {
        check(with_storage(net->dtype, [&](auto type) {
          using T = typename decltype(type)::Type;
          channel_gates<T>(*net, state.pooled + first * each * channels, each, end - first, channels,
                           state.inner + first * each * net->hidden, hidden, gates);
          return kDone;
        }));
      } else {
        for (int64_t c = 0; c < (end - first) * channels; ++c) gates[c] = 1;
      }
      for (int64_t i = first; i < end; ++i) {
        if (mask) {
          float *planes = state.planes + i * 2 * pixels, *logits = state.logits + i * pixels;
          check(ATTNZOO_NAME(squeeze_channels, ATTNZOO_ISA)(&image, from(i), state.channel + i * channels, planes,
                                                            training ? state.shared + i * pixels : nullptr));
          check(ATTNZOO_NAME(spatial_conv, ATTNZOO_ISA)(1, height, pixels / height, conv->size, 1, planes, given.weight,
                                                        0, logits));
          with_lanes(pixels, [&](auto vector) {
            if (given.batch) moments<lanes(decltype(vector){})>(logits, pixels, state.moments + 2 * i);
          });
        }
        if (!given.batch) apply(i, given, mask);
      }
    });
    if (!given.batch) return;
    team.wait();
    Spatial own = given;  // every thread its own, and all the same
    join(state.moments, map->batch, pixels, conv->epsilon, own);
    team.each(scratch.failed() ? 0 : groups.count, true, [&](int64_t group) {
      for (int64_t i = groups.begin(group) + groups.extent(group) - 1; i >= groups.begin(group); --i)
        apply(i, own, mask);
    });
  });
  Spatial last = given;
  if (given.batch) state.whole[2] = join(state.moments, map->batch, pixels, conv->epsilon, last);
  state.whole[0] = last.center;
  state.whole[1] = last.factor;
  return status;
}
