// The convolution of a spatial gate: two planes to one, an odd kernel, zero padding; and its gradients.
#include "../kernel.h"

namespace attnzoo {
namespace ATTNZOO_ISA {

constexpr int64_t kBand = 16;  // rows of output that are computed from one padded copy
constexpr int kRows = 8;       // rows of output that are computed together

// `planes` planes of `rows` rows, each with zeros around it, wide enough for whole vectors at every offset.
class Padded {
 public:
  Padded(int64_t planes, int64_t rows, int64_t width, int radius)
      : radius_(radius), rows_(ceil_div(rows, kRows) * kRows + 2 * radius), stride_(ceil_div(width, kLanes) * kLanes + 2 * radius),
        planes_(planes), data_(planes * rows_ * stride_ + kLanes) {}
  bool failed() const { return data_.failed(); }
  const float* row(int64_t plane, int64_t y) const { return data_.data() + (plane * rows_ + y) * stride_; }

  // Copies rows [top - radius, top + rows + radius) of planes (height, width), with zeros where there are none.
  void fill(const float* from, int64_t height, int64_t width, int64_t top) {
    __builtin_memset(data_.data(), 0, planes_ * rows_ * stride_ * sizeof(float));
    for (int64_t plane = 0; plane < planes_; ++plane) {
      for (int64_t y = 0; y < rows_; ++y) {
        const int64_t source = top + y - radius_;
        if (source < 0 || source >= height) continue;
        __builtin_memcpy((float*)row(plane, y) + radius_, from + (plane * height + source) * width,
                         width * sizeof(float));
      }
    }
  }

 private:
  int radius_;
  int64_t rows_, stride_, planes_;
  Scratch data_;
};

// out = the correlation of `ins` planes with weight (outs, ins, K, K), for one batch item's band of rows. Eight rows at a
// time: each vector of the input is read once for all the rows that see it.
template <int K>
ATTNZOO_HOT void correlate_band(const Padded& padded, int ins, int outs, const float* weight, float bias, float* out,
                                int64_t height, int64_t width, int64_t top, int64_t rows) {
  constexpr int N = kLanes;
  for (int o = 0; o < outs; ++o) {
    for (int64_t y = 0; y < rows; y += kRows) {
      for (int64_t x = 0; x < width; x += N) {
        F<N> sums[kRows];
        for (auto& sum : sums) sum = all<N>(bias);
        for (int i = 0; i < ins; ++i) {
          const float* w = weight + (o * ins + i) * K * K;
#pragma GCC unroll 16
          for (int row = 0; row < kRows + K - 1; ++row) {
            const float* from = padded.row(i, y + row) + x;
#pragma GCC unroll 8
            for (int kx = 0; kx < K; ++kx) {
              const F<N> v = load<N>(from + kx);
#pragma GCC unroll 8
              for (int r = 0; r < kRows; ++r) {
                if (row - r >= 0 && row - r < K) sums[r] += v * w[(row - r) * K + kx];
              }
            }
          }
        }
        float* to = out + (o * height + top + y) * width + x;
        for (int r = 0; r < smaller(kRows, rows - y); ++r)
          __builtin_memcpy(to + r * width, &sums[r], smaller(N, width - x) * sizeof(float));
      }
    }
  }
}

struct Plane {
  int64_t batch, height, width;
  int threads;
};

template <int K>
int correlate(const float* in, int ins, int outs, const float* weight, float bias, float* out, Plane plane) {
  const int64_t bands = ceil_div(plane.height, kBand), area = plane.height * plane.width;
  int status = kDone;
  parallel(plane.threads, plane.batch * bands, plane.batch * area * ins * outs * K, [&](int64_t task) {
    const int64_t b = task / bands, top = task % bands * kBand, rows = smaller(kBand, plane.height - top);
    Padded padded(ins, rows, plane.width, K / 2);
    if (padded.failed()) {
      __atomic_store_n(&status, kNoMemory, __ATOMIC_RELAXED);
      return;
    }
    padded.fill(in + b * ins * area, plane.height, plane.width, top);
    correlate_band<K>(padded, ins, outs, weight, bias, out + b * outs * area, plane.height, plane.width, top, rows);
  });
  return status;
}

// d_weight (2, K, K) of one batch item.
template <int K>
ATTNZOO_HOT void weight_gradient(const Padded& in, const Padded& d_out, Plane plane, float* d_weight) {
  constexpr int N = kLanes;
  for (int i = 0; i < 2; ++i) {
    for (int ky = 0; ky < K; ++ky) {
      F<N> total[K] = {};
      for (int64_t y = 0; y < plane.height; ++y) {
        for (int64_t x = 0; x < plane.width; x += N) {
          const F<N> d = load<N>(d_out.row(0, y) + x);
#pragma GCC unroll 7
          for (int kx = 0; kx < K; ++kx) total[kx] += load<N>(in.row(i, y + ky) + x + kx) * d;
        }
      }
      for (int kx = 0; kx < K; ++kx) d_weight[(i * K + ky) * K + kx] = sum<N>(total[kx]);
    }
  }
}

template <int K>
int backward(const float* in, const float* weight, const float* d_out, float* d_in, float* d_weight, Plane plane) {
  float mirrored[2 * K * K];
  for (int i = 0; i < 2; ++i)
    for (int k = 0; k < K * K; ++k) mirrored[i * K * K + k] = weight[i * K * K + K * K - 1 - k];
  int status = correlate<K>(d_out, 1, 2, mirrored, 0, d_in, plane);

  const int64_t area = plane.height * plane.width;
  const Scratch parts(plane.batch * 2 * K * K);
  if (parts.failed()) return kNoMemory;
  parallel(plane.threads, plane.batch, plane.batch * area * 2 * K, [&](int64_t b) {
    Padded source(2, plane.height, plane.width, K / 2), gradient(1, plane.height, plane.width, 0);
    if (source.failed() || gradient.failed()) {
      __atomic_store_n(&status, kNoMemory, __ATOMIC_RELAXED);
      return;
    }
    source.fill(in + b * 2 * area, plane.height, plane.width, 0);
    gradient.fill(d_out + b * area, plane.height, plane.width, 0);
    weight_gradient<K>(source, gradient, plane, parts.data() + b * 2 * K * K);
  });
  for (int k = 0; k < 2 * K * K; ++k) {
    float total = 0;
    for (int64_t b = 0; b < plane.batch; ++b) total += parts.data()[b * 2 * K * K + k];
    d_weight[k] = total;
  }
  return status;
}

template <int K> struct Size { static constexpr int value = K; };

// Calls kernel with the kernel size as a constant.
template <class Kernel> int with_size(int64_t size, Kernel kernel) {
  switch (size) {
    case 1: return kernel(Size<1>{});
    case 3: return kernel(Size<3>{});
    case 5: return kernel(Size<5>{});
    case 7: return kernel(Size<7>{});
    default: return kUnknownSize;
  }
}

}  // namespace ATTNZOO_ISA
}  // namespace attnzoo

using namespace attnzoo::ATTNZOO_ISA;

// planes (batch, 2, height, width), weight (1, 2, size, size), out (batch, 1, height, width).
ATTNZOO_EXPORT(spatial_conv)(int64_t batch, int64_t height, int64_t width, int64_t size, int threads,
                             const float* planes, const float* weight, float bias, float* out) {
  return with_size(size, [&](auto k) {
    return correlate<k.value>(planes, 2, 1, weight, bias, out, Plane{batch, height, width, threads});
  });
}

ATTNZOO_EXPORT(spatial_conv_backward)(int64_t batch, int64_t height, int64_t width, int64_t size, int threads,
                                      const float* planes, const float* weight, const float* d_out, float* d_planes,
                                      float* d_weight) {
  return with_size(size, [&](auto k) {
    return backward<k.value>(planes, weight, d_out, d_planes, d_weight, Plane{batch, height, width, threads});
  });
}
