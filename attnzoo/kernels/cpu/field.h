// A tensor as attnzoo/ops/reading.py hands it over: where it lies and what it is. Whoever takes it checks its shape.
#pragma once

#include <stdint.h>

enum { kAttnzooUnfit = 4 };  // the status of a kernel that does not take what it is given, as kUnfit of kernel.h
enum { kAttnzooAbsent = -1, kAttnzooFloat32, kAttnzooBfloat16, kAttnzooFloat16, kAttnzooInt64, kAttnzooAxes = 4 };

struct AttnzooField {
  void* data;
  int64_t dtype;  // kAttnzooAbsent: there is no tensor, and all else is 0
  int64_t rank, count, requires_grad;
  int64_t sizes[kAttnzooAxes], strides[kAttnzooAxes];  // of the first `rank` axes, else 0; the stride of a single element
                                                       // says nothing
};

// Whether a tensor has no gaps, the last axis being the nearest in memory.
static inline bool attnzoo_contiguous(const AttnzooField& field) {
  int64_t step = 1;
  for (int64_t axis = field.rank - 1; axis >= 0; --axis) {
    if (field.sizes[axis] != 1 && field.strides[axis] != step) return false;
    step *= field.sizes[axis];
  }
  return true;
}

// A kernel that takes modules' tensors as `reading.py` finds them: the fields, behind them the numbers; options of its
// own; how many threads may work; what it fills. It returns a status, and writes nothing where anything is unfit.
typedef int (*AttnzooKernel)(const struct AttnzooField* fields, int64_t count, const void* options, int64_t threads, void* y,
                             float* state, int64_t training);
