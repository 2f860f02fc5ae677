// What a whole channel and spatial gate is made of, and what its forward pass leaves for the backward pass.
#pragma once

#include "kernel.h"

// The channel gate: sigmoid(expand * sum of relu(reduce * pooled + reduce_bias) over what is pooled + expand_bias).
struct AttnzooBottleneck {
  int64_t hidden;                          // 0: no channel gate
  const void *reduce, *expand;             // (hidden, channels), (channels, hidden), both of type dtype
  const float *reduce_bias, *expand_bias;  // null: none
  int32_t dtype, maxima;                   // maxima: averages and maxima are pooled, else averages only
};

// The spatial gate: sigmoid(gain * normal + shift), where normal = (convolution - center) * factor.
struct AttnzooConvolution {
  int64_t size;  // 0: no spatial gate
  const float* weight;
  float center, factor, gain, shift, epsilon;
  int32_t batch;  // center and factor are not given: they are those of the batch
};

namespace attnzoo {
namespace ATTNZOO_ISA {

constexpr int64_t kGroup = 1 << 21;  // bytes of images that a thread takes together, to read the weights less often

// The state: one array after the other, each (batch, ...). Of a gate that is not there nothing is kept.
struct State {
  int64_t each;     // how many vectors are pooled of an image
  float* pooled;    // (each, channels): averages, maxima
  float* ties;      // (channels): how many pixels reach the maximum
  float* inner;     // (each, hidden): what goes into the ReLU
  float* channel;   // (channels): the gate
  float* planes;    // (2, pixels): averages and maxima over the channels
  float* shared;    // (pixels): how many channels reach the maximum
  float* logits;    // (pixels): the convolution
  float* moments;   // (2): average of the convolution, and sum of the squares of what differs from it
  float* whole;     // not of each image: average and variance of the convolution over the batch

  State(float* data, const AttnzooMap& map, const AttnzooBottleneck& net, const AttnzooConvolution& conv)
      : each(net.maxima ? 2 : 1) {
    const auto take = [&](int64_t floats) {
      float* part = data;
      data += map.batch * floats;
      return part;
    };
    pooled = take(net.hidden ? each * map.channels : 0);
    ties = take(net.hidden ? map.channels : 0);
    inner = take(each * net.hidden);
    channel = take(map.channels);
    planes = take(conv.size ? 2 * map.pixels : 0);
    shared = take(conv.size ? map.pixels : 0);
    logits = take(conv.size ? map.pixels : 0);
    moments = take(2);
    whole = data;
  }
};

// The images that a thread takes together.
struct Groups {
  int64_t images, size, count;
  Groups(const AttnzooMap& map, int64_t bytes) : images(map.batch) {
    const int64_t image = map.channels * map.pixels * bytes;
    size = larger(1, smaller(kGroup / image, ceil_div(map.batch, map.threads)));
    count = ceil_div(images, size);
  }
  int64_t begin(int64_t group) const { return group * size; }
  int64_t extent(int64_t group) const { return smaller(size, images - group * size); }
};

inline float inverse_root(double value) { return (float)(1 / __builtin_sqrt(value)); }

// The convolution with the statistics that hold for it: its own, or those of the batch.
inline AttnzooConvolution normed(AttnzooConvolution conv, const State& state) {
  if (conv.batch) {
    conv.center = state.whole[0];
    conv.factor = inverse_root((double)state.whole[1] + conv.epsilon);
  }
  return conv;
}

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
inline void spatial_gate(const AttnzooConvolution& conv, const float* logits, int64_t pixels, float* gates) {
  const float scale = conv.factor * conv.gain;
  gate(logits, pixels, scale, conv.shift - conv.center * scale, gates);
}

}  // namespace ATTNZOO_ISA
}  // namespace attnzoo
