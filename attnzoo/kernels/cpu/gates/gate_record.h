// The arguments of the whole-gate kernels, gate_images and its backward pass.
#pragma once

#include <stdint.h>

struct GateCall {
  int64_t batch, channels, height, width, channels_last, dtype, threads;  // the map
  int64_t training;  // whether the whole state is needed
  const void* x;
  void* y;       // null in the backward pass
  float* state;  // see State; null: not needed

  // The channel gate: sigmoid(expand * sum of relu(reduce * pooled + reduce_bias) over what is pooled + expand_bias).
  int64_t type;                           // of all weights
  int64_t hidden, maxima;                 // hidden 0: no channel gate; maxima: whether maxima are pooled too
  const void *reduce, *expand;            // (hidden, channels), (channels, hidden)
  const void *reduce_bias, *expand_bias;  // null: none

  // The spatial gate: sigmoid(norm(convolution)).
  int64_t size;                  // 0: no spatial gate
  int64_t plane, row, column;    // strides of the weight
  const void *weight, *bias;     // (2, size, size); bias, gain and shift may be null
  const void *gain, *shift;      // of the norm
  int64_t normed, batch_norm;    // whether there is a norm, and whether it uses the batch's average and variance
  int64_t running;               // type of the two that follow
  void *mean, *variance;         // statistics that the norm uses; with batch_norm those to update, or null
  int64_t* tracked;              // number of batches so far, or null
  double momentum;               // of the update
  double epsilon;

  const void* blend;  // of the type of the weights; null: 1
  double offset;      // y = x * (product of the gates, each blended with 1, + blend * offset)
};

// The gradients, each with the layout of its tensor. Those of weights may be null if absent or not needed.
struct GateGradients {
  const void* dy;
  void *dx, *reduce, *expand, *reduce_bias, *expand_bias;
  void* weight;  // (2, size, size), of the convolution
  void *bias, *gain, *shift, *blend;
  int64_t plane, row, column;  // strides of the weight's
};

// Floats of the state of some images: see State in gates.h.
inline int64_t gate_floats(int64_t images, const GateCall& call) {
  const int64_t each = call.maxima ? 2 : 1, pixels = call.size ? call.height * call.width : 0;
  const int64_t vectors = call.hidden ? (each + 1) * call.channels + each * call.hidden : 0;
  return images * (vectors + call.channels + 4 * pixels + 2) + 3;
}
