// SE or CBAM from a record of attnzoo/ops/reading.py. Shapes, dtypes and strides are checked here, because checking a dozen
// tensors in Python is slow.
#include <initializer_list>

#include "../field.h"
#include "gates.h"

// The parts that the gate has, as gate_images.py packs them.
struct AttnzooGateOptions {
  int64_t channel, maxima, spatial, normed;
  double offset;
};

namespace attnzoo {
namespace ATTNZOO_ISA {
namespace {

bool absent(const AttnzooField& field) { return field.dtype == kAttnzooAbsent; }

// Takes the fields one after the other.
struct Taker {
  const AttnzooField* next;
  int64_t dtype;  // of all weights

  // A contiguous tensor of `count` numbers of the weights' type; null if it is optional and absent.
  bool vector(int64_t count, const void** to) {
    const AttnzooField& field = *next++;
    *to = field.data;
    return absent(field) || (field.dtype == dtype && field.count == count && attnzoo_contiguous(field));
  }
  bool matrix(int64_t rows, int64_t columns, const void** to) {
    const AttnzooField& field = *next;
    if (field.rank != 4 || field.sizes[0] != rows || field.sizes[1] != columns) return false;
    return vector(rows * columns, to) && *to;
  }
};

bool map_fits(const AttnzooField& x, GateCall* call) {
  if (x.rank != 4 || x.count == 0 || x.dtype < kAttnzooFloat32 || x.dtype > kAttnzooFloat16) return false;
  AttnzooField turned = x;
  const int order[] = {0, 2, 3, 1};
  for (int i = 0; i < 4; ++i) turned.sizes[i] = x.sizes[order[i]], turned.strides[i] = x.strides[order[i]];
  const bool planar = attnzoo_contiguous(x);
  call->batch = x.sizes[0], call->channels = x.sizes[1], call->height = x.sizes[2], call->width = x.sizes[3];
  call->channels_last = attnzoo_contiguous(turned) && (!planar || call->channels > call->height * call->width);
  call->dtype = x.dtype, call->x = x.data;
  return (planar || call->channels_last) && call->batch * call->height * call->width > 1;
}

// Running statistics and their batch count, which are updated in training if `follows`.
bool norm_fits(const AttnzooField* fields, const double* numbers, GateCall* call) {
  const AttnzooField &mean = fields[0], &variance = fields[1], &tracked = fields[2];
  const bool trains = numbers[2] != 0, follows = numbers[3] != 0, kept = !absent(mean);
  call->normed = 1, call->epsilon = numbers[0], call->momentum = numbers[1];
  call->batch_norm = trains || !kept;
  if (kept != !absent(variance)) return false;
  if (!kept || (trains && !follows)) return true;
  if (mean.dtype > kAttnzooFloat16 || mean.dtype != variance.dtype || mean.count != 1 || variance.count != 1) return false;
  if (!absent(tracked) && (tracked.dtype != kAttnzooInt64 || tracked.count != 1)) return false;
  call->running = mean.dtype, call->mean = mean.data, call->variance = variance.data;
  call->tracked = (int64_t*)tracked.data;
  return true;
}

// Fields: the map, the blend, the bottleneck's two weights, each with its bias, the convolution's, the norm's gain and shift
// and its statistics; numbers: epsilon, momentum, whether the norm trains, whether it follows.
bool take(const AttnzooField* fields, const double* numbers, const AttnzooGateOptions& options, GateCall* call) {
  if (!map_fits(fields[0], call)) return false;
  Taker taker{fields + 1, call->dtype};
  call->type = call->dtype, call->maxima = options.maxima, call->offset = options.offset;
  if (!taker.vector(1, &call->blend)) return false;
  if (options.channel) {
    call->hidden = taker.next->sizes[0];
    if (!taker.matrix(call->hidden, call->channels, &call->reduce) || !taker.vector(call->hidden, &call->reduce_bias) ||
        !taker.matrix(call->channels, call->hidden, &call->expand) || !taker.vector(call->channels, &call->expand_bias))
      return false;
  }
  if (options.spatial) {
    const AttnzooField& weight = *taker.next++;
    call->size = weight.sizes[3];
    const bool odd = call->size == 1 || call->size == 3 || call->size == 5 || call->size == 7;
    if (!odd || weight.rank != 4 || weight.dtype != call->type || weight.sizes[0] != 1 || weight.sizes[1] != 2 ||
        weight.sizes[2] != call->size)
      return false;
    call->weight = weight.data;
    call->plane = weight.strides[1], call->row = weight.strides[2], call->column = weight.strides[3];
    if (!taker.vector(1, &call->bias)) return false;
  }
  if (!options.normed) return true;
  return taker.vector(1, &call->gain) && taker.vector(1, &call->shift) && norm_fits(taker.next, numbers, call);
}

// The gradients, in the order of their tensors; statistics have none.
void take_gradients(const AttnzooField* next, const AttnzooGateOptions& options, GateGradients* out) {
  out->dx = next++->data, out->blend = next++->data;
  if (options.channel)
    for (void** to : std::initializer_list<void**>{&out->reduce, &out->reduce_bias, &out->expand, &out->expand_bias})
      *to = next++->data;
  if (options.spatial) {
    out->weight = next->data, out->plane = next->strides[1], out->row = next->strides[2], out->column = next->strides[3];
    out->bias = (++next)->data, ++next;
  }
  if (options.normed) out->gain = next->data, out->shift = next[1].data;
}

}  // namespace
}  // namespace ATTNZOO_ISA
}  // namespace attnzoo

using namespace attnzoo::ATTNZOO_ISA;
static_assert((int)kUnfit == (int)kAttnzooUnfit, "read_modules.cpp knows it by the other name");

// Computes the gated map; returns kUnfit, before anything is written, if an argument is not supported.
ATTNZOO_EXPORT(gate_images)(const AttnzooField* fields, int64_t count, const void* options, int64_t threads, void* y,
                            float* state, int64_t training) {
  GateCall call = {};
  if (!take(fields, (const double*)(fields + count), *(const AttnzooGateOptions*)options, &call)) return kUnfit;
  if (call.batch_norm && state == nullptr) return kUnfit;
  call.threads = threads, call.training = training, call.y = y, call.state = state;
  return gated(&call);
}

// The backward pass, from the state that the forward pass left in training. After the forward pass's fields come those of
// dy, with the map's layout, and of the gradients: of the map and all other tensors, in the same order.
ATTNZOO_EXPORT(gate_images_backward)(const AttnzooField* fields, int64_t count, const void* options, int64_t threads, void*,
                                     float* state, int64_t) {
  const AttnzooGateOptions& parts = *(const AttnzooGateOptions*)options;
  const AttnzooField* dy = fields + count / 2;
  GateCall call = {};
  GateGradients out = {};
  if (count % 2 == 0 || !take(fields, (const double*)(fields + count), parts, &call)) return kUnfit;
  call.threads = threads, call.training = 1, call.state = state;
  out.dy = dy->data;
  take_gradients(dy + 1, parts, &out);
  return gated_backward(&call, &out);
}
