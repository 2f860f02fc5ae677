// Description of a tensor from attnzoo/ops/reading.py: address, dtype, shape, strides. The kernel must check the shape.
#pragma once

#include <stdint.h>

enum { kAttnzooUnfit = 4 };  // status of a kernel that does not support its arguments, as kUnfit of kernel.h
enum { kAttnzooAbsent = -1, kAttnzooFloat32, kAttnzooBfloat16, kAttnzooFloat16, kAttnzooInt64, kAttnzooAxes = 4 };

struct AttnzooField {
  void* data;
  int64_t dtype;  // kAttnzooAbsent: no tensor, and all other fields are 0
  int64_t rank, count, requires_grad;
  int64_t sizes[kAttnzooAxes], strides[kAttnzooAxes];  // for the first `rank` axes, else 0; the stride of an axis of length 1
                                                       // is undefined
};

// Whether a tensor is contiguous in row-major order.
static inline bool attnzoo_contiguous(const AttnzooField& field) {
  int64_t step = 1;
  for (int64_t axis = field.rank - 1; axis >= 0; --axis) {
    if (field.sizes[axis] != 1 && field.strides[axis] != step) return false;
    step *= field.sizes[axis];
  }
  return true;
}

// A kernel that takes a record of `reading.py`: `count` fields, then the numbers (double); its options; the number of
// threads; the output `y`; optional memory for a state. It returns a status; with kAttnzooUnfit it has written nothing.
typedef int (*AttnzooKernel)(const struct AttnzooField* fields, int64_t count, const void* options, int64_t threads, void* y,
                             float* state, int64_t training);
