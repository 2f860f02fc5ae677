// SE or CBAM, image by image: an image stays in a core's cache from the first pass over it to the last, and threads wait for
// each other only where a norm needs the whole batch. If there are few images, all threads share each image, pass by pass.
// The results do not depend on this choice or on the number of threads.
#include "gates.h"

ATTNZOO_EXPORT(global_pool)(const AttnzooMap*, const void*, float*, float*, float*);
ATTNZOO_EXPORT(squeeze_channels)(const AttnzooMap*, const void*, const float*, float*, float*);
ATTNZOO_EXPORT(spatial_conv)(int64_t, int64_t, int64_t, int64_t, int, const float*, const float*, float, float*);
ATTNZOO_EXPORT(apply_gates)(const AttnzooMap*, const void*, const float*, const float*, float, float, const void*, int,
                            void*);

namespace attnzoo {
namespace ATTNZOO_ISA {

constexpr int kWeights = kLanes == 16 ? 4 : 2;  // rows of weights; as many sums as there are registers for
constexpr int64_t kBlock = 16;                  // rows of weights that a thread takes

// The products of R rows of weights with V vectors, both `length` apart. Prefetches a row that is needed later, from `later`.
template <int N, int R, int V, class T>
ATTNZOO_HOT void block(const T* weight, const float* vectors, int64_t length, const T* later, float* out, int64_t stride) {
  F<N> total[V][R] = {};
  sweep<N>(length, [&](int64_t i, int, auto fresh) {
    __builtin_prefetch(later + i);
    F<N> v[V];  // masked as well: infinity times a weight that is masked is NaN
    for (int k = 0; k < V; ++k) v[k] = fresh(load<N>(vectors + k * length + i));
    for (int r = 0; r < R; ++r) {
      const F<N> w = fresh(load<N>(weight + r * length + i));
      for (int k = 0; k < V; ++k) total[k][r] += w * v[k];
    }
  });
  if constexpr (R * V == N) {
    const F<N> all = across<N, N>(total[0], Sum{});
    for (int k = 0; k < V; ++k) __builtin_memcpy(out + k * stride, (const float*)&all + k * R, R * sizeof(float));
  } else {
    for (int k = 0; k < V; ++k)
      for (int r = 0; r < R; ++r) out[k * stride + r] = sum<N>(total[k][r]);
  }
}

template <int N, int R, class T>
ATTNZOO_HOT void rows(const T* weight, const float* vectors, int64_t count, int64_t length, float* out, int64_t stride) {
  int64_t v = 0;
  const auto some = [&](auto many) {
    constexpr int V = lanes(decltype(many){});
    for (; v + V <= count; v += V) {
      const T* later = weight + smaller(R + v / 4, 2 * R - 1) * length;  // of the rows behind these, one for each turn
      block<N, R, V>(weight, vectors + v * length, length, later, out + v * stride, stride);
    }
  };
  some(Vector<4>{});
  some(Vector<2>{});
  some(Vector<1>{});
}

// out (count, outs) = the products of `count` vectors with rows [first, end) of weight (outs, length), plus bias.
template <class T>
void multiply(const T* weight, const T* bias, float times, const float* vectors, int64_t count, int64_t outs,
              int64_t length, int64_t first, int64_t end, float* out) {
  with_lanes(length, [&](auto vector) {
    constexpr int N = lanes(decltype(vector){});
    int64_t o = first;
    for (; o + kWeights <= end; o += kWeights)
      rows<N, kWeights>(weight + o * length, vectors, count, length, out + o, outs);
    for (; o < end; ++o) rows<N, 1>(weight + o * length, vectors, count, length, out + o, outs);
  });
  if (bias == nullptr) return;
  for (int64_t v = 0; v < count; ++v)
    for (int64_t o = first; o < end; ++o) out[v * outs + o] += times * one(bias + o);
}

// Rows [first, end) of the bottleneck's first layer for the given images: the input of the ReLU, and the sum of its outputs.
inline int reduce(const GateCall& call, const float* pooled, int64_t each, int64_t images, int64_t first, int64_t end,
                  float* inner, float* sums) {
  const int64_t hidden = call.hidden;
  return with_storage((int)call.type, [&](auto type) {
    multiply(type.in(call.reduce), type.in(call.reduce_bias), 1, pooled, each * images, hidden, call.channels, first, end,
             inner);
    for (int64_t i = 0; i < images; ++i) {
      for (int64_t h = first; h < end; ++h) {
        float total = 0;
        for (int64_t k = 0; k < each; ++k) {
          const float v = inner[(i * each + k) * hidden + h];
          total += v < 0 ? 0 : v;
        }
        sums[i * hidden + h] = total;
      }
    }
    return kDone;
  });
}

// The input of the sigmoids of channels [first, end).
inline int expand(const GateCall& call, const float* sums, int64_t each, int64_t images, int64_t first, int64_t end,
                  float* gates) {
  return with_storage((int)call.type, [&](auto type) {
    multiply(type.in(call.expand), type.in(call.expand_bias), each, sums, images, call.channels, call.hidden, first, end,
             gates);
    return kDone;
  });
}

// Average, and sum of squared deviations from it. The second pass corrects the rounding error of the first pass's average.
template <int N> ATTNZOO_HOT void moments(const float* values, int64_t count, float* out) {
  F<N> total[4] = {}, off[4] = {}, squares[4] = {};
  sweep<N, 4>(count, [&](int64_t i, int slot, auto fresh) { total[slot] += fresh(load<N>(values + i)); });
  const float near = sum<N>((total[0] + total[1]) + (total[2] + total[3])) / count;
  sweep<N, 4>(count, [&](int64_t i, int slot, auto fresh) {
    const F<N> differs = fresh(load<N>(values + i) - near);
    off[slot] += differs;
    squares[slot] += differs * differs;
  });
  const float more = sum<N>((off[0] + off[1]) + (off[2] + off[3])) / count;
  out[0] = near + more;
  const float around = sum<N>((squares[0] + squares[1]) + (squares[2] + squares[3])) - count * more * more;
  out[1] = around < 0 ? 0 : around;  // NaN stays
}

// Sets center and factor from the moments of the images, and returns the variance.
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

// Updates the running statistics with the batch's, as torch's norm does in training.
inline void follow(const GateCall& call, double mean, double variance) {
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

// y = x * (channel gate * spatial gate + offset), the gates blended; y may be x itself.
int gated(const GateCall* call) {
  const int64_t channels = call->channels, pixels = call->height * call->width, hidden = call->hidden;
  const int64_t batch = call->batch, planar = call->size ? pixels : 0, each = call->maxima ? 2 : 1;
  const int64_t image_bytes = channels * pixels * bytes(call->dtype);
  const bool training = call->training, once = at_once(*call);
  const Spatial given(*call);
  const Blend blend(*call);
  const Shares shares(*call);
  const AttnzooMap image = map_of(*call, shares.inside);
  // sums of the inner layer, of each image; a spatial gate and blended channel gates, of each thread; a state, if none is
  // wanted
  const int64_t own = planar + channels;
  const Scratch scratch(batch * hidden + call->threads * own + (call->state ? 0 : gate_floats(batch, *call)));
  if (scratch.failed()) return kNoMemory;
  float *sums = scratch.data(), *locals = sums + batch * hidden;
  const State state(call->state ? call->state : locals + call->threads * own, batch, *call);
  int status = kDone;
  const auto check = [&](int failed) {
    if (failed) __atomic_store_n(&status, failed, __ATOMIC_RELAXED);
  };
  const auto from = [&](int64_t i) { return (const char*)call->x + i * image_bytes; };
  const auto pool = [&](int64_t i) {
    float* to = state.pooled + i * each * channels;
    check(ATTNZOO_NAME(global_pool, ATTNZOO_ISA)(&image, from(i), to, call->maxima ? to + channels : nullptr,
                                                 call->maxima && training ? state.ties + i * channels : nullptr));
  };
  const auto squeeze = [&](int64_t i, int64_t place, float* room) {
    float *planes = state.planes + place * 2 * pixels, *logits = state.logits + place * pixels;
    const float* gate = blend.of(state.channel + i * channels, channels, room);
    check(ATTNZOO_NAME(squeeze_channels, ATTNZOO_ISA)(&image, from(i), gate, planes,
                                                      training ? state.shared + i * pixels : nullptr));
    check(ATTNZOO_NAME(spatial_conv, ATTNZOO_ISA)(1, call->height, call->width, call->size, shares.inside, planes,
                                                  given.weight, 0, logits));
  };
  const auto measure = [&](int64_t i) {
    with_lanes(pixels, [&](auto vector) {
      moments<lanes(decltype(vector){})>(state.logits + i * pixels, pixels, state.moments + 2 * i);
    });
  };
  const auto apply = [&](int64_t i, int64_t place, const Spatial& spatial, float* mask) {
    if (planar) spatial_gate(spatial, state.logits + place * pixels, pixels, mask);
    check(ATTNZOO_NAME(apply_gates, ATTNZOO_ISA)(&image, from(i), state.channel + i * channels, planar ? mask : nullptr,
                                                 blend.share, blend.offset, nullptr, 0, (char*)call->y + i * image_bytes));
  };
  const auto reduce_rows = [&](int64_t k) {
    check(reduce(*call, state.pooled, each, batch, k * kBlock, smaller(hidden, (k + 1) * kBlock), state.inner, sums));
  };
  const auto expand_rows = [&](int64_t k) {
    const int64_t first = k * kBlock, end = smaller(channels, first + kBlock);
    check(expand(*call, sums, each, batch, first, end, state.channel));
  };
  const auto channel_gate = [&](int64_t i) {
    float *gates = state.channel + i * channels, *pooled = state.pooled + i * each * channels;
    if (hidden && !once) {
      check(reduce(*call, pooled, each, 1, 0, hidden, state.inner + i * each * hidden, sums + i * hidden));
      check(expand(*call, sums + i * hidden, each, 1, 0, channels, gates));
    }
    if (hidden) gate(gates, channels, 1, 0, gates);
    for (int64_t c = 0; c < channels && !hidden; ++c) gates[c] = 1;
  };
  const bool inside = shares.inside > 1;
  const int threads = (int)call->threads;
  together(threads, inside ? threads : batch, batch * channels * pixels, [&](Team& team, int thread) {
    float *mask = locals + thread * own, *room = mask + planar;
    // All images: shared among the threads, or one after the other by all threads together, each pass being shared.
    const auto images = [&](bool back, auto task) {
      if (!inside) return team.each(batch, back, task);
      for (int64_t i = 0; i < batch; ++i) task(back ? batch - 1 - i : i);
    };
    const auto by_one = [&](auto task, int64_t i) {
      if (!inside) return task(i);
      team.step(1, [&](int64_t) { task(i); });
    };
    if (once) {
      images(false, pool);
      team.wait();
      team.step(ceil_div(hidden, kBlock), reduce_rows);
      team.step(ceil_div(channels, kBlock), expand_rows);
    }
    // From the end: the previous operation left the end of the map in the cache, and the next one begins at the start.
    images(true, [&](int64_t i) {
      if (hidden && !once) pool(i);
      by_one(channel_gate, i);
      // results that are not needed are written to memory that is in the cache already
      const int64_t place = call->state || inside ? i : thread;
      if (planar) squeeze(i, place, room);
      if (given.batch) by_one(measure, i);
      if (!given.batch) apply(i, place, given, mask);
    });
    if (!given.batch) return;
    team.wait();
    Spatial norm = given;  // every thread its own, and all the same
    join(state.moments, batch, pixels, call->epsilon, norm);
    images(false, [&](int64_t i) { apply(i, i, norm, mask); });
  });
  if (call->state == nullptr || status != kDone) return status;
  Spatial last = given;
  if (given.batch) {
    state.whole[2] = join(state.moments, batch, pixels, call->epsilon, last);
    follow(*call, last.center, state.whole[2]);
  }
  state.whole[0] = last.center;
  state.whole[1] = last.factor;
  return status;
}

}  // namespace ATTNZOO_ISA
}  // namespace attnzoo
