// SE or CBAM without gradients, image by image: each stays in a core's cache from the first pass over it to the last,
// and the threads meet only once.
#include "kernel.h"

ATTNZOO_EXPORT(global_pool)(const AttnzooMap*, const void*, float*, float*, float*);
ATTNZOO_EXPORT(squeeze_channels)(const AttnzooMap*, const void*, const float*, float*, float*);
ATTNZOO_EXPORT(spatial_conv)(int64_t, int64_t, int64_t, int64_t, int, const float*, const float*, float, float*);
ATTNZOO_EXPORT(apply_gates)(const AttnzooMap*, const void*, const float*, const float*, float, float, const void*, int,
                            void*);

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

constexpr int64_t kGroup = 1 << 21;  // bytes of images that a thread takes together, to read the weights less often
constexpr int kVectors = 4;          // vectors that are multiplied by a row of weights together

// values = sigmoid(scale * values + shift)
template <int N> ATTNZOO_HOT void sigmoid(float* values, int64_t count, float scale, float shift) {
  F<N> last;  // the last step overlaps the one before, so it takes its input from before that was overwritten
  __builtin_memcpy(&last, values + count - N, sizeof last);
  const auto gate = [&](F<N> v) { return 1.f / (1.f + exponential<N>(-(v * scale + shift))); };
  for (int64_t i = 0; i + N <= count; i += N) store<N>(values + i, gate(load<N>(values + i)));
  store<N>(values + count - N, gate(last));
}

inline void gate(float* values, int64_t count, float scale, float shift) {
  with_lanes(count, [&](auto vector) { sigmoid<lanes(decltype(vector){})>(values, count, scale, shift); });
}

// The products of a row of weights with `count` vectors that lie `stride` apart, out[v * out_stride] each.
template <int N, class T>
ATTNZOO_HOT void products(const T* weight, const float* vectors, int64_t stride, int64_t count, int64_t length,
                          float* out, int64_t out_stride) {
  int64_t v = 0;
  for (; v + kVectors <= count; v += kVectors) {
    F<N> total[kVectors] = {};
    sweep<N>(length, [&](int64_t i, int, auto fresh) {
      const F<N> w = load<N>(weight + i);
      for (int k = 0; k < kVectors; ++k) total[k] += fresh(w * load<N>(vectors + (v + k) * stride + i));
    });
    for (int k = 0; k < kVectors; ++k) out[(v + k) * out_stride] = sum<N>(total[k]);
  }
  for (; v < count; ++v) {
    F<N> total[4] = {};
    sweep<N, 4>(length, [&](int64_t i, int slot, auto fresh) {
      total[slot] += fresh(load<N>(weight + i) * load<N>(vectors + v * stride + i));
    });
    out[v * out_stride] = sum<N>((total[0] + total[1]) + (total[2] + total[3]));
  }
}

// The gates (images, channels) from what was pooled (images, 1 or 2, channels); logits (2 * images), hidden (images,
// net.hidden).
template <class T>
void channel_gates(const AttnzooBottleneck& net, const float* pooled, int64_t images, int64_t channels, float* logits,
                   float* hidden, float* gates) {
  const int64_t each = net.maxima ? 2 : 1;
  with_lanes(channels, [&](auto vector) {
    for (int64_t h = 0; h < net.hidden; ++h) {
      products<lanes(decltype(vector){})>((const T*)net.reduce + h * channels, pooled, channels, each * images,
                                          channels, logits, 1);
      for (int64_t i = 0; i < images; ++i) {
        float total = 0;
        for (int64_t k = 0; k < each; ++k) {
          const float logit = logits[i * each + k] + (net.reduce_bias ? net.reduce_bias[h] : 0);
          total += logit < 0 ? 0 : logit;
        }
        hidden[i * net.hidden + h] = total;
      }
    }
  });
  with_lanes(net.hidden, [&](auto vector) {
    for (int64_t c = 0; c < channels; ++c) {
      products<lanes(decltype(vector){})>((const T*)net.expand + c * net.hidden, hidden, net.hidden, images,
                                          net.hidden, gates + c, channels);
      if (net.expand_bias == nullptr) continue;
      for (int64_t i = 0; i < images; ++i) gates[i * channels + c] += each * net.expand_bias[c];
    }
  });
  gate(gates, images * channels, 1, 0);
}

}  // namespace ATTNZOO_ISA
}  // namespace attnzoo

using namespace attnzoo::ATTNZOO_ISA;

// y = x * (channel gate * spatial gate + offset). channel (batch, channels) and spatial (batch, pixels) receive the
// gates that there are.
ATTNZOO_EXPORT(gate_images)(const AttnzooMap* map, int64_t height, int64_t bytes, const AttnzooBottleneck* net,
                            const AttnzooConvolution* conv, const void* x, float offset, float* channel,
                            float* spatial, void* y) {
  const int64_t channels = map->channels, pixels = map->pixels, size = channels * pixels * bytes;
  const int64_t each = net->maxima ? 2 : 1, own = each * channels + 2 + net->hidden + 2 * pixels;
  const int64_t group = larger(1, smaller(kGroup / size, ceil_div(map->batch, map->threads)));
  const Scratch scratch(map->batch * own);
  if (scratch.failed()) return kNoMemory;
  int status = kDone;
  parallel(map->threads, ceil_div(map->batch, group), map->batch * channels * pixels, [&](int64_t task) {
    const int64_t first = task * group, images = smaller(group, map->batch - first);
    float *pooled = scratch.data() + first * own, *logits = pooled + images * each * channels;
    float *hidden = logits + images * 2, *planes = hidden + images * net->hidden;
    float* gates = channel + first * channels;
    AttnzooMap image = *map;
    image.batch = image.threads = 1;
    int failed = kDone;
    for (int64_t i = 0; i < images && net->hidden; ++i) {
      float* to = pooled + i * each * channels;
      failed |= ATTNZOO_NAME(global_pool, ATTNZOO_ISA)(&image, (const char*)x + (first + i) * size, to,
                                                       net->maxima ? to + channels : nullptr, nullptr);
    }
    if (net->hidden) {
      failed |= with_storage(net->dtype, [&](auto type) {
        using T = typename decltype(type)::Type;
        channel_gates<T>(*net, pooled, images, channels, logits, hidden, gates);
        return kDone;
      });
    } else {
      for (int64_t c = 0; c < images * channels; ++c) gates[c] = 1;
    }
    for (int64_t i = 0; i < images; ++i) {
      const char* from = (const char*)x + (first + i) * size;
      float *own_gate = gates + i * channels, *mask = conv->size ? spatial + (first + i) * pixels : nullptr;
      if (mask) {
        failed |= ATTNZOO_NAME(squeeze_channels, ATTNZOO_ISA)(&image, from, own_gate, planes, nullptr);
        failed |= ATTNZOO_NAME(spatial_conv, ATTNZOO_ISA)(1, height, pixels / height, conv->size, 1, planes,
                                                          conv->weight, 0, mask);
        gate(mask, pixels, conv->scale, conv->shift);
      }
      failed |= ATTNZOO_NAME(apply_gates, ATTNZOO_ISA)(&image, from, own_gate, mask, 1, offset, nullptr, 0,
                                                       (char*)y + (first + i) * size);
    }
    if (failed) __atomic_store_n(&status, failed, __ATOMIC_RELAXED);
  });
  return status;
}
