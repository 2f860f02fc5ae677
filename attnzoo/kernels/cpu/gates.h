// What a whole channel and spatial gate is made of, and what its forward pass leaves for the backward pass.
#pragma once

#include "kernel.h"

// The channel gate: sigmoid(expand * sum of relu(reduce * pooled + reduce_bias) over what is pooled + expand_bias).
struct AttnzooBottleneck {
  int64_t hidden;                         // 0: no channel gate
  const void *reduce, *expand;            // (hidden, channels), (channels, hidden), all of type dtype
  const void *reduce_bias, *expand_bias;  // null: none
  int32_t dtype, maxima;                  // maxima: averages and maxima are pooled, else averages only
};

// The spatial gate: sigmoid(norm(convolution)), with numbers of type dtype, statistics of type running.
struct AttnzooConvolution {
  int64_t size;                       // 0: no spatial gate
  int64_t plane, row, column;         // strides of the weight
  const void *weight, *bias;          // (2, size, size); bias, gain and shift may be null
  const void *gain, *shift;           // of the norm
  const void *mean, *variance;        // null: those of the batch
  float epsilon;
  int32_t dtype, running, normed;     // normed: whether there is a norm
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
  float* whole;     // (3), not of each image: center, factor and, of the batch, variance: see Spatial

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
    size = larger(1, smaller(kGroup / image, ceil_div(map.batch, map.threads == 1 ? 1 : 2 * map.threads)));
    count = ceil_div(images, size);
  }
  int64_t begin(int64_t group) const { return group * size; }
  int64_t extent(int64_t group) const { return smaller(size, images - group * size); }
};

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

  explicit Spatial(const AttnzooConvolution& conv) {
    const int size = (int)conv.size;
    for (int i = 0; i < 2 * size * size && size <= 7; ++i)
      weight[i] = number(conv.weight, conv.dtype, i / (size * size) * conv.plane + i / size % size * conv.row +
                                                      i % size * conv.column);
    batch = conv.normed && conv.mean == nullptr;
    if (conv.gain) gain = number(conv.gain, conv.dtype);
    if (conv.shift) shift = number(conv.shift, conv.dtype);
    if (batch) return;
    if (conv.normed) {
      center = number(conv.mean, conv.running);
      factor = inverse_root(number(conv.variance, conv.running), conv.epsilon);
    }
    if (conv.bias) center -= number(conv.bias, conv.dtype);
  }
  static float inverse_root(double variance, double epsilon) { return (float)(1 / __builtin_sqrt(variance + epsilon)); }
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
