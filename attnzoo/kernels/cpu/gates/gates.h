// The parts of a whole channel and spatial gate, and the state that its forward pass leaves for the backward pass.
#pragma once

#include "gate_record.h"
#include "../kernel.h"

namespace attnzoo {
namespace ATTNZOO_ISA {

// The state: one array after the other, each (batch, ...). Arrays of a gate that does not exist are left out.
struct State {
  int64_t each;     // pooled vectors per image, 1 or 2
  float* pooled;    // (each, channels): averages, maxima
  float* ties;      // (channels): number of pixels that equal the maximum
  float* inner;     // (each, hidden): input of the ReLU
  float* channel;   // (channels): the gate
  float* planes;    // (2, pixels): averages and maxima over the channels
  float* shared;    // (pixels): number of channels that equal the maximum
  float* logits;    // (pixels): the convolution
  float* moments;   // (2): average of the convolution, and sum of squared deviations from it
  float* whole;     // (3), not per image: center, factor and the batch's variance: see Spatial

  State(float* data, int64_t images, const GateCall& call) : each(call.maxima ? 2 : 1) {
    const int64_t pixels = call.size ? call.height * call.width : 0, channels = call.hidden ? call.channels : 0;
    const auto take = [&](int64_t floats) {
      float* part = data;
      data += images * floats;
      return part;
    };
    pooled = take(each * channels);
    ties = take(channels);
    inner = take(each * call.hidden);
    channel = take(call.channels);
    planes = take(2 * pixels);
    shared = take(pixels);
    logits = take(pixels);
    moments = take(2);
    whole = data;
  }
};

// The kernels: see gate_images.cpp and gate_images_backward.cpp.
int gated(const GateCall*);
int gated_backward(const GateCall*, const GateGradients*);

// The division of work: whole images per thread or, for few images, parts of each image.
struct Shares {
  int inside;  // threads that share an image
  explicit Shares(const GateCall& call) {
    const int threads = (int)call.threads;
    const bool few = call.batch < threads || (call.batch < 4 * threads && call.batch % threads);
    inside = few ? threads : 1;
  }
};

// Small pieces of work common to all images, done by all threads in either case.
template <class Task> void pieces(Team& team, const Shares& shares, int64_t tasks, int64_t elements, Task task) {
  if (shares.inside > 1) {
    parallel(shares.inside, tasks, elements, task);
  } else {
    team.each(tasks, false, task);
  }
}

inline AttnzooMap map_of(const GateCall& call, int threads) {
  return {1, call.channels, call.height * call.width, (int32_t)call.channels_last, (int32_t)call.dtype, threads};
}

inline int64_t bytes(int64_t dtype) { return dtype == 0 ? 4 : 2; }

// Whether the bottleneck is computed for all images at once, because its weights are larger than an image; else with each
// image, while that is in the cache.
inline bool at_once(const GateCall& call) {
  return 4 * call.hidden * bytes(call.type) > call.height * call.width * bytes(call.dtype);
}

inline float number(const void* p, int dtype, int64_t at = 0) {
  float value = 0;
  with_storage(dtype, [&](auto type) { return value = one(type.in(p) + at), kDone; });
  return value;
}

// The spatial gate as the kernels take it: sigmoid(gain * (convolution without bias - center) * factor + shift).
struct Spatial {
  float center = 0, factor = 1, gain = 1, shift = 0;
  bool batch = false;  // center and factor are those of the batch
  float weight[2 * 7 * 7];

  explicit Spatial(const GateCall& call) {
    const int type = (int)call.type, running = (int)call.running, size = (int)call.size, area = size * size;
    for (int i = 0; i < 2 * area && size <= 7; ++i)
      weight[i] = number(call.weight, type, i / area * call.plane + i / size % size * call.row + i % size * call.column);
    batch = call.normed && call.batch_norm;
    if (call.gain) gain = number(call.gain, type);
    if (call.shift) shift = number(call.shift, type);
    if (batch) return;
    if (call.normed) {
      center = number(call.mean, running);
      factor = inverse_root(number(call.variance, running), call.epsilon);
    }
    if (call.bias) center -= number(call.bias, type);
  }
  static float inverse_root(double variance, double epsilon) { return (float)(1 / __builtin_sqrt(variance + epsilon)); }
};

// A blended gate: (1 - share) + share * gate, exactly 1 at a share of 0 and exactly the gate at a share of 1.
struct Blend {
  float share = 1, offset;

  explicit Blend(const GateCall& call) {
    if (call.blend) share = number(call.blend, (int)call.type);
    offset = share * (float)call.offset;
  }
  template <class V> V operator()(V gate) const { return share * gate + (1 - share); }
  // The same for `count` gates, written to `room` unless share is 1.
  const float* of(const float* gates, int64_t count, float* room) const {
    if (share == 1) return gates;
    for (int64_t i = 0; i < count; ++i) room[i] = (*this)(gates[i]);
    return room;
  }
};

// gates = sigmoid(scale * values + shift); the two may be the same.
template <int N> ATTNZOO_HOT void sigmoid(const float* values, int64_t count, float scale, float shift, float* gates) {
  const F<N> last = load<N>(values + count - N);  // the last step overlaps the one before
  const auto gate = [&](F<N> v) { return 1.f / (1.f + exponential<N>(-(v * scale + shift))); };
  for (int64_t i = 0; i + N <= count; i += N) store<N>(gates + i, gate(load<N>(values + i)));
  store<N>(gates + count - N, gate(last));
}

inline void gate(const float* values, int64_t count, float scale, float shift, float* gates) {
  with_lanes(count, [&](auto vector) { sigmoid<lanes(decltype(vector){})>(values, count, scale, shift, gates); });
}

// The spatial gate of one image from its convolution.
inline void spatial_gate(const Spatial& own, const float* logits, int64_t pixels, float* gates) {
  const float scale = own.factor * own.gain;
  gate(logits, pixels, scale, own.shift - own.center * scale, gates);
}

}  // namespace ATTNZOO_ISA
}  // namespace attnzoo
