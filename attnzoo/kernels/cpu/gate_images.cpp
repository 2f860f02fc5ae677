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
void channel_gates(const AttnzooGate& net, const float* pooled, int64_t each, int64_t images, int64_t channels,
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

// Takes the batch into the running statistics, as torch's norm does in training.
inline void follow(const AttnzooGate& call, double mean, double variance) {
  if (call.mean == nullptr) return;
  if (call.tracked) ++*call.tracked;
  const double count = (double)call.batch * call.height * call.width;
  if (call.bias) mean += number(call.bias, (int)call.type);
  const auto blend = [&](auto type, void* running, double value) {
    auto* at = type.out(running);
    store<1>(at, all<1>((float)((1 - call.momentum) * one(at) + call.momentum * value)));
    return kDone;
  };
  with_storage((int)call.running, [&](auto type) { return blend(type, call.mean, mean); });
  with_storage((int)call.running, [&](auto type) { return blend(type, call.variance, variance * count / (count - 1)); });
}

}  // namespace ATTNZOO_ISA
}  // namespace attnzoo

using namespace attnzoo::ATTNZOO_ISA;

// y = x * (channel gate * spatial gate + offset).
ATTNZOO_EXPORT(gate_images)(const AttnzooGate* call) {
  const int64_t channels = call->channels, pixels = call->height * call->width, hidden = call->hidden;
  const int64_t image_bytes = channels * pixels * bytes(call->dtype);
  const bool planar = call->size != 0, maxima = call->maxima, training = call->training;
  const Groups groups(*call);
  const Spatial given(*call);
  const AttnzooMap image = call->map(1, 1);
  int status = kDone;
  const auto check = [&](int failed) {
    if (failed) __atomic_store_n(&status, failed, __ATOMIC_RELAXED);
  };
  const auto from = [&](int64_t i) { return (const char*)call->x + i * image_bytes; };
  together((int)call->threads, groups.count, call->batch * channels * pixels, [&](Team team) {
    const int64_t masks = planar ? pixels : 0, kept = call->state ? 0 : State::floats(groups.size, *call);
    const Scratch scratch(groups.size * hidden + masks + kept);
    if (scratch.failed()) check(kNoMemory);
    float *sums = scratch.data(), *mask = planar ? sums + groups.size * hidden : nullptr;
    // without a state, room for one group
    const State state(call->state ? call->state : sums + groups.size * hidden + masks,
                      call->state ? call->batch : groups.size, *call);
    const int64_t each = state.each, count = scratch.failed() ? 0 : groups.count;
    const auto apply = [&](int64_t i, int64_t at, const Spatial& spatial) {
      if (planar) spatial_gate(spatial, state.logits + at * pixels, pixels, mask);
      check(ATTNZOO_NAME(apply_gates, ATTNZOO_ISA)(&image, from(i), state.channel + at * channels, mask, 1,
                                                   (float)call->offset, nullptr, 0, (char*)call->y + i * image_bytes));
    };
    team.each(count, false, [&](int64_t group) {
      const int64_t first = groups.begin(group), extent = groups.extent(group), start = call->state ? first : 0;
      for (int64_t i = 0; i < extent && hidden; ++i) {
        float* to = state.pooled + (start + i) * each * channels;
        check(ATTNZOO_NAME(global_pool, ATTNZOO_ISA)(&image, from(first + i), to, maxima ? to + channels : nullptr,
                                                     maxima && training ? state.ties + (start + i) * channels : nullptr));
      }
      float* gates = state.channel + start * channels;
      if (hidden) {
        check(with_storage((int)call->type, [&](auto type) {
          using T = typename decltype(type)::Type;
          channel_gates<T>(*call, state.pooled + start * each * channels, each, extent, channels,
                           state.inner + start * each * hidden, sums, gates);
          return kDone;
        }));
      } else {
        for (int64_t c = 0; c < extent * channels; ++c) gates[c] = 1;
      }
      for (int64_t i = 0; i < extent; ++i) {
        const int64_t at = start + i;
        if (planar) {
          float *planes = state.planes + at * 2 * pixels, *logits = state.logits + at * pixels;
          check(ATTNZOO_NAME(squeeze_channels, ATTNZOO_ISA)(&image, from(first + i), state.channel + at * channels,
                                                            planes, training ? state.shared + at * pixels : nullptr));
          check(ATTNZOO_NAME(spatial_conv, ATTNZOO_ISA)(1, call->height, call->width, call->size, 1, planes,
                                                        given.weight, 0, logits));
          with_lanes(pixels, [&](auto vector) {
            if (given.batch) moments<lanes(decltype(vector){})>(logits, pixels, state.moments + 2 * at);
          });
        }
        if (!given.batch) apply(first + i, at, given);
      }
    });
    if (!given.batch) return;
    team.wait();
    Spatial own = given;  // every thread its own, and all the same
    join(state.moments, call->batch, pixels, call->epsilon, own);
    team.each(count, true, [&](int64_t group) {
      for (int64_t i = groups.begin(group) + groups.extent(group) - 1; i >= groups.begin(group); --i) apply(i, i, own);
    });
  });
  if (call->state == nullptr || status != kDone) return status;
  const State state(call->state, call->batch, *call);
  Spatial last = given;
  if (given.batch) {
    state.whole[2] = join(state.moments, call->batch, pixels, call->epsilon, last);
    follow(*call, last.center, state.whole[2]);
  }
  state.whole[0] = last.center;
  state.whole[1] = last.factor;
  return status;
}
