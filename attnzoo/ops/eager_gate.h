// A call of the kernels of a whole gate in the making, forward or backward.
#pragma once

#include "eager.h"

#include "../kernels/cpu/gate_record.h"

namespace eager {

constexpr int by_pixel[] = {0, 2, 3, 1};  // the order of a channels-last map

// What a gradient is taken of beside the map, in the order of Weights in launch_gates.py.
enum Slot { kReduce, kExpand, kReduceBias, kExpandBias, kWeight, kBias, kGain, kShift, kSlots };

struct Call : AttnzooGate {
  Kept<16> keep;
  PyObject* slots[kSlots];  // borrowed; None where there is none
  PyObject* norm[2] = {};   // what the norm goes by, borrowed; null where nothing follows
  Call() : AttnzooGate() {
    for (auto& slot : slots) slot = Py_None;
  }
  void take(Slot slot, PyObject* found) {
    keep(found);
    slots[slot] = found;
  }
  bool vector(Slot slot, PyObject* found, int64_t count, const void** at) {
    if (!eager::vector(keep, found, type, count, at)) return false;
    slots[slot] = found;
    return true;
  }
  const int* order() const { return channels_last ? by_pixel : nullptr; }
};

inline int64_t pixels_of(const AttnzooGate& call) { return call.height * call.width; }

// Average and variance that a norm of one channel goes by, or that follow the batch. False if they are something else.
inline bool running(Call* call, PyObject* mean, PyObject* variance) {
  Tensor first, second;
  if (!mean || !variance || !is(mean, tensor) || !is(variance, tensor) || !first.read(mean) || !second.read(variance))
    return false;
  call->keep(mean), call->keep(variance);
  call->norm[0] = mean, call->norm[1] = variance;
  call->running = first.type, call->mean = first.is.data, call->variance = second.is.data;
  return first.count == 1 && second.count == 1 && first.type == second.type;
}

// A new tensor like another one; null if it is not.
inline PyObject* like(PyObject* other, const Tensor& described, Tensor* made) {
  Ref found(PyObject_CallFunctionObjArgs(empty_like, other, nullptr));
  if (!found.object || !is(found.object, tensor) || !made->read(found.object)) return nullptr;
  if (made->type != described.type || made->is.rank != described.is.rank || made->count != described.count) return nullptr;
  Py_INCREF(found.object);
  return found.object;
}

inline PyObject* tuple_of(PyObject* const* objects, Py_ssize_t count) {  // None for null
  PyObject* made = PyTuple_New(count);
  for (Py_ssize_t i = 0; made && i < count; ++i) {
    PyObject* object = objects[i] ? objects[i] : Py_None;
    Py_INCREF(object);
    PyTuple_SetItem(made, i, object);
  }
  return made;
}

}  // namespace eager
