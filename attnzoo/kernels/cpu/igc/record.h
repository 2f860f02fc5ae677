// What the kernel of CEDNN's blocks is told.
#pragma once

#include <stdint.h>

// A convolution and the norm behind it, as torch keeps them.
struct AttnzooStage {
  const float *weight, *bias;               // bias may be null
  const float *gain, *offset;               // of the norm; both null if it is not affine
  const float *mean, *variance;
  double epsilon;
};

struct AttnzooIgc {
  int64_t batch, channels, height, width, groups, outputs;
  int64_t given;       // channels of x; the block's are these over and over
  int64_t maps, span;  // guiding maps; channels in a row that share one, the first of maps + 1 such spans none
  float plus;          // a channel is multiplied by its map + plus
  int32_t dense, pool, dtype, threads;
};

// x (batch, given, height, width), maps (batch, maps, height, width) or null, gate (batch, given) or null: x is multiplied
// by it. y (batch, outputs, height, width), or half of both if pooled; means (batch, outputs) of what was not yet pooled,
// or null: height and width must be even if there is both.
struct AttnzooIgcMaps {
  const void *x, *maps;
  const float* gate;
  void* y;
  float* means;
};
