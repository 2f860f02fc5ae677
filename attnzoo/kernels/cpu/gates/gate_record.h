// One call for a whole gate: what gate_images and its backward pass are told.
#pragma once

#include <stdint.h>

struct GateCall {
  int64_t batch, channels, height, width, channels_last, dtype, threads;  // the map
  int64_t training;  // whether the whole state is asked for
  const void* x;
  void* y;       // null in the backward pass
  float* state;  // see State; null: nothing of it is wanted

  // The channel gate: sigmoid(expand * sum of relu(reduce * pooled + reduce_bias) over what is pooled + expand_bias).
  int64_t type;                           // of all weights
  int64_t hidden, maxima;                 // hidden 0: no channel gate; maxima: pooled as well, beside the averages
  const void *reduce, *expand;            // (hidden, channels), (channels, hidden)
  const void *reduce_bias, *expand_bias;  // null: none

  // The spatial gate: sigmoid(norm(convolution)).
  int64_t size;                  // 0: no spatial gate
  int64_t plane, row, column;    // strides of the weight
  const void *weight, *bias;     // (2, size, size); bias, gain and shift may be null
  const void *gain, *shift;      // of the norm
  int64_t normed, batch_norm;    // whether there is a norm, and whether it goes by the average and variance of the batch
  int64_t running;               // type of the two that follow
  void *mean, *variance;         // what the norm goes by; or what is to follow the batch, null if nothing is
  int64_t* tracked;              // how many batches they followed, or null
  double momentum;               // with which they follow
  double epsilon;

  const void* blend;  // of the type of the weights: how much of each gate counts; null: all of it
  double offset;      // y = x * (product of the gates, each blended with 1, + blend * offset)
};

// The gradients, like what they are the gradients of. Those of weights may be null: what is not there, or not wanted.
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
