// 2x2 max pooling of float32 maps.
#include "../kernel.h"

// x is (planes, 2 * height, 2 * width), y (planes, height, width).
struct AttnzooHalve {
  int64_t planes, height, width, threads;
  const float* x;
  float* y;
};

namespace attnzoo {
namespace ATTNZOO_ISA {

// The larger value, or NaN if either is NaN.
template <class V> inline V larger_or_nan(V a, V b) { return (a > b) | (a != a) ? a : b; }

// The larger of each pair of neighbouring lanes of two vectors.
template <int N> inline F<N> of_pairs(F<N> a, F<N> b) {
  I<N> even;
  for (int i = 0; i < N; ++i) even[i] = 2 * i;
  return larger_or_nan<F<N>>(picked<N>(a, b, even), picked<N>(a, b, even + 1));
}

ATTNZOO_HOT void halve_rows(const float* above, const float* below, int64_t width, float* out) {
  constexpr int N = kLanes;
  const auto larger = [&](int64_t at) { return larger_or_nan<F<N>>(load<N>(above + at), load<N>(below + at)); };
  int64_t i = 0;
  for (; i + N <= width; i += N) store<N>(out + i, of_pairs<N>(larger(2 * i), larger(2 * i + N)));
  for (; i < width; ++i)
    out[i] = larger_or_nan(larger_or_nan(above[2 * i], above[2 * i + 1]), larger_or_nan(below[2 * i], below[2 * i + 1]));
}

}  // namespace ATTNZOO_ISA
}  // namespace attnzoo

using namespace attnzoo::ATTNZOO_ISA;

ATTNZOO_EXPORT(halve)(const AttnzooHalve* call) {
  const int64_t width = call->width, rows = call->planes * call->height;  // two rows of x for each of y, one after the other
  const float* x = call->x;
  float* y = call->y;
#pragma omp parallel for num_threads((int)call->threads) if (call->threads > 1)
  for (int64_t row = 0; row < rows; ++row)
    halve_rows(x + 4 * row * width, x + (4 * row + 2) * width, width, y + row * width);
  return kDone;
}
