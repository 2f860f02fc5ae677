// Reads rows of a map into a strip: with zeros around, gated, repeated for each group of channels, in the order that a
// grid wants.
#pragma once

#include "tile.h"

namespace attnzoo {
namespace ATTNZOO_ISA {

// One row of the map, times the channel's gate, and times `map + plus` if there is a map.
template <class T> struct Row {
  const T *x, *map;
  float gate, plus;
  template <int N> F<N> at(int64_t column) const {
    const F<N> v = load<N>(x + column) * gate;
    return map ? v * (load<N>(map + column) + plus) : v;
  }
};

// The even and the odd lanes of two vectors that follow one another.
template <int N> ATTNZOO_HOT void split(F<N> low, F<N> high, F<N>& even, F<N>& odd) {
  if constexpr (N == 1) {
    even = low;
    odd = high;
  } else {
    I<N> evens, odds;
    for (int k = 0; k < N; ++k) {
      evens[k] = 2 * k;
      odds[k] = 2 * k + 1;
    }
    even = picked<N>(low, high, evens);
    odd = picked<N>(low, high, odds);
  }
}

template <int N, class Source> ATTNZOO_HOT void copy_row(const Source& row, int64_t width, float* to) {
  if constexpr (N > 1) {
    if (width < N) return copy_row<N / 2>(row, width, to);
  }
  for (int64_t i = 0; i + N <= width; i += N) store<N>(to + i, row.template at<N>(i));
  if (width > 0) store<N>(to + width - N, row.template at<N>(width - N));
}

// even[i] = row[2 * i], odd[i] = row[2 * i + 1] for `pairs` of them.
template <int N, class T> ATTNZOO_HOT void split_row(const Row<T>& row, int64_t pairs, float* even, float* odd) {
  if constexpr (N > 1) {
    if (pairs < N) return split_row<N / 2>(row, pairs, even, odd);
  }
  for (int64_t i = 0; i < pairs; i += N) {
    const int64_t k = smaller(i, pairs - N);  // the last step overlaps the one before
    F<N> evens, odds;
    split<N>(row.template at<N>(2 * k), row.template at<N>(2 * k + N), evens, odds);
    store<N>(even + k, evens);
    store<N>(odd + k, odds);
  }
}

// Rows [top, top + rows) of the output need `row(y)` of the map, y from above them to below. A row that is not there is
// null.
template <class At> ATTNZOO_HOT void fill(const Rows& grid, float* strip, int64_t size, int64_t width, int64_t top,
                                          int64_t rows, At at) {
  for (int64_t i = 0; i < rows + 2; ++i) {
    float* to = strip + i * grid.stride;
    const auto row = at(top + i - 1);
    to[0] = 0;
    if (row.x) {
      copy_row<kLanes>(row, width, to + 1);
    } else {
      __builtin_memset(to + 1, 0, width * sizeof(float));
    }
  }
  const int64_t end = (rows + 2) * grid.stride;
  __builtin_memset(strip + end, 0, (size - end) * sizeof(float));
}

template <class At> ATTNZOO_HOT void fill(const Windows& grid, float* strip, int64_t size, int64_t width, int64_t top,
                                          int64_t rows, At at) {
  const int64_t pairs = width / 2, end = (rows + 1) * grid.stride;
  for (int half = 0; half < 2; ++half) {  // odd rows, from one above the windows on; even rows
    float *odd = strip + half * 2 * grid.plane, *even = odd + grid.plane;
    for (int64_t i = 0; i < rows + 1; ++i, odd += grid.stride, even += grid.stride) {
      const auto row = at(2 * (top + i) - 1 + half);
      if (row.x) {
        odd[0] = 0;
        even[pairs] = width % 2 ? row.template at<1>(width - 1)[0] : 0;
        split_row<kLanes>(row, pairs, even, odd + 1);
      } else {
        __builtin_memset(odd, 0, grid.stride * sizeof(float));
        __builtin_memset(even, 0, grid.stride * sizeof(float));
      }
    }
    __builtin_memset(odd, 0, (grid.plane - end) * sizeof(float));
    __builtin_memset(even, 0, (grid.plane - end) * sizeof(float));
  }
}

// Sets the grid's planes for strips of `rows` rows and returns the floats of a channel; tiles read a little past its end.
inline int64_t channel_size(Rows& grid, int64_t rows) {
  return ceil_div(rows * grid.stride, kTile) * kTile + 2 * grid.stride + 2;
}
inline int64_t channel_size(Windows& grid, int64_t rows) {
  grid.plane = ceil_div(rows * grid.stride, kLanes) * kLanes + grid.stride + 1;
  return 4 * grid.plane;
}

}  // namespace ATTNZOO_ISA
}  // namespace attnzoo
