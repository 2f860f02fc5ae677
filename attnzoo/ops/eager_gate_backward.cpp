// The way of gate_images.py to the kernel of its gradients, without Python in between; see eager_gate.cpp.
#include "eager_gate.h"

namespace eager {
namespace {

int (*kernel)(const AttnzooGate*, const AttnzooGradients*) = nullptr;

// Whether a tensor is a map of the call's.
bool shaped(const Tensor& t, const Call& call) {
  const int64_t sides[] = {call.batch, call.channels, call.height, call.width};
  bool same = t.type == call.dtype && t.is.rank == 4 && t.dense(call.order());
  for (int i = 0; i < 4 && same; ++i) same = t.is.shape[i] == sides[i];
  return same;
}

// Whether a tensor is a weight of so many rows and columns, and of the type; where there is none, None.
bool fits(Call* call, Slot slot, PyObject* found, int64_t rows, int64_t columns, const void** at, Tensor* described) {
  if (!*at) return found == Py_None;
  if (!(is(found, parameter) || is(found, tensor)) || !described->read(found)) return false;
  call->take(slot, found);
  *at = described->is.data;
  const bool sized = described->is.rank && described->is.shape[0] == rows && described->count == rows * columns;
  return sized && described->type == call->type && (slot == kWeight || described->dense(nullptr));
}

// The gradients of the map and of all weights, an owned tuple; null if it is not for this way.
PyObject* differentiated(PyObject* record, PyObject* dy, PyObject* x, PyObject* weights, PyObject* state, PyObject* norm,
                         PyObject* wanted) {
  char* bytes;
  Py_ssize_t size;
  if (!PyBytes_Check(record) || PyBytes_AsStringAndSize(record, &bytes, &size) || size != sizeof(AttnzooGate)) return nullptr;
  if (!PyTuple_Check(wanted) || PyTuple_Size(wanted) != kSlots) return nullptr;
  if (!PyTuple_Check(weights) || PyTuple_Size(weights) != kSlots || !PyTuple_Check(norm) || PyTuple_Size(norm) != 2)
    return nullptr;
  Call call;
  __builtin_memcpy(static_cast<AttnzooGate*>(&call), bytes, sizeof(AttnzooGate));
  Tensor map, change, found;
  if (!(is(x, tensor) || is(x, parameter)) || !is(dy, tensor) || !is(state, tensor)) return nullptr;
  if (!map.read(x) || !change.read(dy) || !found.read(state)) return nullptr;
  if (!shaped(map, call) || !shaped(change, call)) return nullptr;
  if (found.type != 0 || found.count != attnzoo_gate_floats(call.batch, call)) return nullptr;
  call.keep(x), call.keep(dy), call.keep(state);
  call.training = 1, call.x = map.is.data, call.y = nullptr, call.state = (float*)found.is.data, call.tracked = nullptr;
  call.threads = number(PyObject_CallNoArgs(threads));
  if (call.threads < 1) return nullptr;

  const struct {
    int64_t rows, columns;
    const void** at;
  } places[kSlots] = {
      {call.hidden, call.channels, &call.reduce}, {call.channels, call.hidden, &call.expand},
      {call.hidden, 1, &call.reduce_bias},        {call.channels, 1, &call.expand_bias},
      {1, 2 * call.size * call.size, &call.weight}, {1, 1, &call.bias},
      {1, 1, &call.gain},                         {1, 1, &call.shift},
  };
  Tensor described[kSlots];
  for (int i = 0; i < kSlots; ++i) {
    const auto& place = places[i];
    if (!fits(&call, (Slot)i, PyTuple_GetItem(weights, i), place.rows, place.columns, place.at, described + i)) return nullptr;
  }
  if (call.weight) {
    if (described[kWeight].is.rank != 4) return nullptr;
    const int64_t* strides = described[kWeight].is.strides;
    call.plane = strides[1], call.row = strides[2], call.column = strides[3];
  }
  if (call.normed && !call.batch_norm && !running(&call, PyTuple_GetItem(norm, 0), PyTuple_GetItem(norm, 1))) return nullptr;
  if (call.batch_norm) call.mean = call.variance = nullptr;

  AttnzooGradients gradients = {};
  void** const to[kSlots] = {&gradients.reduce, &gradients.expand, &gradients.reduce_bias, &gradients.expand_bias,
                             &gradients.weight, &gradients.bias,   &gradients.gain,        &gradients.shift};
  gradients.dy = change.is.data;
  Kept<1 + kSlots> made;
  PyObject* all[1 + kSlots] = {};
  for (int i = -1; i < kSlots; ++i) {
    if (i >= 0 && (call.slots[i] == Py_None || PyTuple_GetItem(wanted, i) != Py_True)) continue;
    const Tensor& as = i < 0 ? map : described[i];
    Tensor t;
    Ref one(like(i < 0 ? x : call.slots[i], as, &t));
    if (!one.object || (i != kWeight && !t.dense(i < 0 ? call.order() : nullptr))) return nullptr;
    made(one.object);
    all[1 + i] = one.object;
    *(i < 0 ? &gradients.dx : to[i]) = t.is.data;
    if (i == kWeight) gradients.plane = t.is.strides[1], gradients.row = t.is.strides[2], gradients.column = t.is.strides[3];
  }
  return without_python([&] { return kernel(&call, &gradients); }) ? nullptr : tuple_of(all, 1 + kSlots);
}

const char kGradients[] =
    "gradients(record, dy, x, weights, state, norm, wanted)\n--\n\n"
    "Return the gradients of the map and of the eight weights, None where one is not wanted; or None where gate_images.py\n"
    "must compute them.\n\n"
    "record, state and norm are what gated() returned, weights what they have become, wanted eight flags.";

PyObject* gradients(PyObject*, PyObject* const* given, Py_ssize_t count) {
  if (count != 7) return PyErr_Format(PyExc_TypeError, "gradients takes 7 arguments, got %zd", count);
  if (!kernel) Py_RETURN_NONE;
  return or_none(differentiated(given[0], given[1], given[2], given[3], given[4], given[5], given[6]));
}

}  // namespace

bool take_gate_images_backward(void* address, int64_t record) {
  if (record != sizeof(AttnzooGradients)) return false;
  kernel = (decltype(kernel))address;
  return true;
}

PyMethodDef gradients_method = {"gradients", (PyCFunction)(void (*)(void))gradients, METH_FASTCALL, kGradients};

}  // namespace eager
