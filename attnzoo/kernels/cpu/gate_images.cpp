// SE or CBAM without gradients, image by image: each stays in a core's cache from the first pass over it to the last,
// and the threads meet only once.
#include <cmath>

#include "kernel.h"

ATTNZOO_EXPORT(global_pool)(const AttnzooMap*, const void*, float*, float*, float*);
ATTNZOO_EXPORT(squeeze_channels)(const AttnzooMap*, const void*, const float*, float*, float*);
ATTNZOO_EXPORT(spatial_conv)(int64_t, int64_t, int64_t, int64_t, int, const float*, const float*, float, float*);
ATTNZOO_EXPORT(apply_gates)(const AttnzooMap*, const void*, const float*, const float*, float, float, void*);

// The channel gate: sigmoid(expand * sum of relu(reduce * pooled + reduce_bias) over what is pooled + expand_bias).
struct AttnzooBottleneck {
  int64_t hidden;               // 0: no channel gate
  const void *reduce, *expand;  // (hidden, channels), (channels, hidden), both of type dtype
  const float *reduce_bias, *expand_bias;  // null: none
  int32_t dtype, maxima;        // maxima: averages and maxima are pooled, else averages only
};

// The spatial gate: sigmoid(scale * convolution + shift).
struct AttnzooConvolution {
  int64_t size;  // 0: no spatial gate
  const float* weight;
  float scale, shift;
};

namespace attnzoo {
namespace ATTNZOO_ISA {

inline void sigmoid(float* values, int64_t count) {
  for (int64_t i = 0; i < count; ++i) values[i] = 1 / (1 + expf(-values[i]));
}

// The products of one row of weights with `vectors` vectors that lie `length` apart.
template <int N, class T>
ATTNZOO_HOT void products(const T* weight, const float* vector, int vectors, int64_t length, float* out) {
  for (int v = 0; v < vectors; ++v) {
    F<N> total[4] = {};
    sweep<N, 4>(length, [&](int64_t i, int slot, auto fresh) {
      total[slot] += fresh(load<N>(weight + i) * load<N>(vector + v * length + i));
    });
    out[v] = sum<N>((total[0] + total[1]) + (total[2] + total[3]));
  }
}

template <class T>
void channel_gate(const AttnzooBottleneck& net, const float* pooled, int64_t channels, float* hidden, float* gate) {
  const int vectors = net.maxima ? 2 : 1;
  with_lanes(channels, [&](auto vector) {
    for (int64_t h = 0; h < net.hidden; ++h) {
      float logits[2];
      products<lanes(decltype(vector){})>((const T*)net.reduce + h * channels, pooled, vectors, channels, logits);
      hidden[h] = 0;
      for (int v = 0; v < vectors; ++v) {
        const float logit = logits[v] + (net.reduce_bias ? net.reduce_bias[h] : 0);
        hidden[h] += logit < 0 ? 0 : logit;
      }
    }
  });
  with_lanes(net.hidden, [&](auto vector) {
    for (int64_t c = 0; c < channels; ++c) {
      products<lanes(decltype(vector){})>((const T*)net.expand + c * net.hidden, hidden, 1, net.hidden, gate + c);
      if (net.expand_bias) gate[c] += vectors * net.expand_bias[c];
    }
  });
  sigmoid(gate, channels);
}

}  // namespace ATTNZOO_ISA
}  // namespace attnzoo

using namespace attnzoo::ATTNZOO_ISA;

// y = x * (channel gate * spatial gate + offset). channel (batch, channels) and spatial (batch, pixels) receive the
// gates that there are.
ATTNZOO_EXPORT(gate_images)(const AttnzooMap* map, int64_t height, int64_t bytes, const AttnzooBottleneck* net,
                            const AttnzooConvolution* conv, const void* x, float offset, float* channel,
                            float* spatial, void* y) {
  const int64_t channels = map->channels, pixels = map->pixels, own = 2 * channels + net->hidden + 2 * pixels;
  AttnzooMap image = *map;
  image.batch = image.threads = 1;
  const Scratch scratch(map->batch * own);
  if (scratch.failed()) return kNoMemory;
  int status = kDone;
  parallel(map->threads, map->batch, map->batch * channels * pixels, [&](int64_t b) {
    float *pooled = scratch.data() + b * own, *hidden = pooled + 2 * channels, *planes = hidden + net->hidden;
    float *gate = channel + b * channels, *mask = conv->size ? spatial + b * pixels : nullptr;
    const char* from = (const char*)x + b * channels * pixels * bytes;
    int failed = kDone;
    if (net->hidden) {
      failed |= ATTNZOO_NAME(global_pool, ATTNZOO_ISA)(&image, from, pooled, net->maxima ? pooled + channels : nullptr,
                                                       nullptr);
      failed |= with_storage(net->dtype, [&](auto type) {
        using T = typename decltype(type)::Type;
        channel_gate<T>(*net, pooled, channels, hidden, gate);
        return kDone;
      });
    } else {
      for (int64_t c = 0; c < channels; ++c) gate[c] = 1;
    }
    if (mask) {
      failed |= ATTNZOO_NAME(squeeze_channels, ATTNZOO_ISA)(&image, from, gate, planes, nullptr);
      failed |= ATTNZOO_NAME(spatial_conv, ATTNZOO_ISA)(1, height, pixels / height, conv->size, 1, planes, conv->weight,
                                                        0, mask);
      for (int64_t p = 0; p < pixels; ++p) mask[p] = conv->scale * mask[p] + conv->shift;
      sigmoid(mask, pixels);
    }
    failed |= ATTNZOO_NAME(apply_gates, ATTNZOO_ISA)(&image, from, gate, mask, 1, offset,
                                                     (char*)y + b * channels * pixels * bytes);
    if (failed) __atomic_store_n(&status, failed, __ATOMIC_RELAXED);
  });
  return status;
}
