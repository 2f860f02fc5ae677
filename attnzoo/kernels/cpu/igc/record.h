// The arguments of the kernel of CEDNN's blocks in evaluation.
#pragma once

#include <stdint.h>

// The parameters and statistics of a convolution and its norm.
struct AttnzooStage {
  const float *weight, *bias;               // bias may be null
  const float *gain, *offset;               // of the norm; both null if it is not affine
  const float *mean, *variance;
  double epsilon;
};

struct AttnzooIgc {
  int64_t batch, channels, height, width, groups, outputs;
  int64_t given;       // channels of x, which are repeated to the block's
  int64_t maps, span;  // number of guiding maps; channels per span: of maps + 1 spans each but the first has a map
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
