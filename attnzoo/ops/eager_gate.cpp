// The ways of gate_images.py to its kernels in eager mode, without Python in between: what the modules hold is read, the
// output made and the kernel called in one go; and so are the gradients. Whatever is out of the ordinary is left to gate_images.py, by
// returning None: it decides, and it complains.
//
// Between two large layers Python is cold, and takes several times what it takes in a loop: on small maps a third of a
// call.
#include "eager.h"

#include "../kernels/cpu/gate_record.h"

namespace eager {
namespace {

int (*forward)(const AttnzooGate*) = nullptr;
int (*backward)(const AttnzooGate*, const AttnzooGradients*) = nullptr;

constexpr int by_pixel[] = {0, 2, 3, 1};  // the order of a channels-last map

// What a gradient is taken of beside the map, in the order of Weights in launch_gates.py.
enum Slot { kReduce, kExpand, kReduceBias, kExpandBias, kWeight, kBias, kGain, kShift, kSlots };

struct Call : AttnzooGate {
  Kept<16> keep;
  PyObject* slots[kSlots];    // borrowed; None where there is none
  PyObject* running_[2] = {};  // what the norm goes by, borrowed
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

int64_t pixels_of(const AttnzooGate& call) { return call.height * call.width; }

// Two layers with a ReLU between them: fc1, act, fc2, and perhaps a sigmoid as `gate`.
bool bottleneck(Call* call, PyObject* module) {
  Ref own(unwatched(module));
  PyObject* held = own.object ? PyDict_GetItemWithError(own.object, modules_) : nullptr;
  if (!held || !PyDict_Check(held)) return false;
  PyObject *fc1 = PyDict_GetItemWithError(held, fc1_), *act = PyDict_GetItemWithError(held, act_);
  PyObject *fc2 = PyDict_GetItemWithError(held, fc2_), *gate = PyDict_GetItemWithError(held, gate_);
  if (!fc1 || !act || !fc2 || PyDict_Size(held) != (gate ? 4 : 3)) return false;
  if (!is(fc1, convolution) || !is(act, relu) || !is(fc2, convolution) || (gate && !is(gate, sigmoid))) return false;
  Ref first(unwatched(fc1)), middle(unwatched(act)), second(unwatched(fc2)), last(gate ? unwatched(gate) : nullptr);
  if (!middle.object || (gate && !last.object)) return false;
  PyObject *reduce = in(first.object, parameters_, weight_), *expand = in(second.object, parameters_, weight_);
  Tensor inner, outer;
  if (!reduce || !expand || !is(reduce, parameter) || !is(expand, parameter)) return false;
  if (!inner.read(reduce) || !outer.read(expand) || inner.is.rank != 4 || outer.is.rank != 4) return false;
  call->type = inner.type, call->hidden = inner.is.shape[0];
  if (outer.type != call->type || inner.is.shape[1] != call->channels || outer.is.shape[0] != call->channels) return false;
  if (inner.count != call->hidden * call->channels || outer.count != inner.count || outer.is.shape[1] != call->hidden)
    return false;
  if (!inner.dense(nullptr) || !outer.dense(nullptr)) return false;
  call->take(kReduce, reduce), call->take(kExpand, expand);
  call->reduce = inner.is.data, call->expand = outer.is.data;
  return call->vector(kReduceBias, in(first.object, parameters_, bias_), call->hidden, &call->reduce_bias) &&
         call->vector(kExpandBias, in(second.object, parameters_, bias_), call->channels, &call->expand_bias);
}

// Average and variance that a norm of one channel goes by, or that follow the batch. False if they are something else.
bool running(Call* call, PyObject* mean, PyObject* variance) {
  Tensor first, second;
  if (!mean || !variance || !is(mean, tensor) || !is(variance, tensor) || !first.read(mean) || !second.read(variance))
    return false;
  call->keep(mean), call->keep(variance);
  call->running_[0] = mean, call->running_[1] = variance;
  call->running = first.type, call->mean = first.is.data, call->variance = second.is.data;
  return first.count == 1 && second.count == 1 && first.type == second.type;
}

// Whether the norm goes by the batch, and its statistics follow it; in `own` it says how.
bool follows(Call* call, PyObject* own) {
  PyObject *follow = PyDict_GetItemWithError(own, follows_), *momentum = PyDict_GetItemWithError(own, momentum_);
  PyObject* tracked = in(own, buffers_, tracked_);
  Described is;
  if (follow != Py_True || !momentum || !PyFloat_Check(momentum) || !tracked || !eager::is(tracked, tensor)) return false;
  if (exchange->describe(tracked, &is) || is.device_type != kCpu || is.kind != kInt || is.bits != 64 || is.rank) return false;
  if (is.byte_offset || !is.data) return false;
  call->keep(tracked);
  call->batch_norm = 1, call->momentum = PyFloat_AsDouble(momentum), call->tracked = (int64_t*)is.data;
  return true;
}

// A convolution from two planes to one, conv, and a norm behind it, norm.
bool spatial(Call* call, PyObject* module) {
  Ref own(unwatched(module));
  PyObject* held = own.object ? PyDict_GetItemWithError(own.object, modules_) : nullptr;
  if (!held || !PyDict_Check(held) || PyDict_Size(held) != 2) return false;
  PyObject *conv = PyDict_GetItemWithError(held, conv_), *norm = PyDict_GetItemWithError(held, norm_);
  if (!conv || !norm || !is(conv, convolution) || !(is(norm, batch_norm) || is(norm, identity))) return false;
  Ref first(unwatched(conv)), second(unwatched(norm));
  PyObject* weight = in(first.object, parameters_, weight_);
  Tensor w;
  if (!weight || !second.object || !is(weight, parameter) || !w.read(weight) || w.is.rank != 4) return false;
  call->size = w.is.shape[3];
  const bool odd = call->size == 1 || call->size == 3 || call->size == 5 || call->size == 7;
  if (!odd || w.is.shape[0] != 1 || w.is.shape[1] != 2 || w.is.shape[2] != call->size) return false;
  if (call->hidden && w.type != call->type) return false;
  call->take(kWeight, weight);
  call->type = w.type, call->weight = w.is.data;
  call->plane = w.is.strides[1], call->row = w.is.strides[2], call->column = w.is.strides[3];
  if (!call->vector(kBias, in(first.object, parameters_, bias_), 1, &call->bias)) return false;
  if (is(norm, identity)) return true;
  PyObject *trains = PyDict_GetItemWithError(second.object, training_), *eps = PyDict_GetItemWithError(second.object, eps_);
  if (!trains || !eps || !PyFloat_Check(eps)) return false;
  call->normed = 1, call->epsilon = PyFloat_AsDouble(eps);
  return call->vector(kGain, in(second.object, parameters_, weight_), 1, &call->gain) &&
         call->vector(kShift, in(second.object, parameters_, bias_), 1, &call->shift) &&
         running(call, in(second.object, buffers_, mean_), in(second.object, buffers_, variance_)) &&
         (trains == Py_False || (trains == Py_True && follows(call, second.object)));
}

// A new tensor like another one; null if it is not.
PyObject* like(PyObject* other, const Tensor& described, Tensor* made) {
  Ref found(PyObject_CallFunctionObjArgs(empty_like, other, nullptr));
  if (!found.object || !is(found.object, tensor) || !made->read(found.object)) return nullptr;
  if (made->type != described.type || made->is.rank != described.is.rank || made->count != described.count) return nullptr;
  Py_INCREF(found.object);
  return found.object;
}

bool requires_gradient(PyObject* object) {
  Ref said(object == Py_None ? nullptr : PyObject_GetAttr(object, requires_grad_));
  return said.object == Py_True;
}

// A tensor for what is found on the way; null if there is none.
PyObject* state_of(Call* call) {
  const int64_t count = attnzoo_gate_floats(call->batch, *call);
  Ref made(PyObject_CallMethod(floats, "new_empty", "((L))", (long long)count));
  Tensor t;
  if (!made.object || !is(made.object, tensor) || !t.read(made.object) || t.type != 0 || t.count != count) return nullptr;
  call->state = (float*)t.is.data;
  Py_INCREF(made.object);
  return made.object;
}

PyObject* tuple_of(PyObject* const* objects, Py_ssize_t count) {  // None for null
  PyObject* made = PyTuple_New(count);
  for (Py_ssize_t i = 0; made && i < count; ++i) {
    PyObject* object = objects[i] ? objects[i] : Py_None;
    Py_INCREF(object);
    PyTuple_SetItem(made, i, object);
  }
  return made;
}

// What gate_images.py needs for a gradient: the map, the state, the call, what the norm goes by, the weights.
PyObject* learned(const Call& call, PyObject* y, PyObject* state) {
  Ref record(PyBytes_FromStringAndSize((const char*)static_cast<const AttnzooGate*>(&call), sizeof(AttnzooGate)));
  Ref norm(tuple_of(call.running_, 2)), weights(tuple_of(call.slots, kSlots));
  if (!record.object || !norm.object || !weights.object) return nullptr;
  PyObject* all[] = {y, state, record.object, norm.object, weights.object};
  return tuple_of(all, 5);
}

// The gated map, or that with what its gradient needs, an owned object; null if it is not for this way, and perhaps with an
// error set.
PyObject* computed(PyObject* x, PyObject* channel, PyObject* planes, int64_t channels, double offset, int64_t maxima) {
  if (!(is(x, tensor) || is(x, parameter)) || !nobody_looks()) return nullptr;
  Tensor map;
  if (!map.read(x) || map.is.rank != 4 || map.is.shape[1] != channels || map.count == 0) return nullptr;
  Call call;
  call.batch = map.is.shape[0], call.channels = channels, call.height = map.is.shape[2], call.width = map.is.shape[3];
  call.keep(x);
  call.dtype = map.type, call.x = map.is.data, call.maxima = maxima, call.offset = offset;
  call.threads = number(PyObject_CallNoArgs(threads));
  const int64_t pixels = pixels_of(call);
  if (call.threads < 1 || call.batch < call.threads || call.batch * pixels == 1) return nullptr;
  const bool by_channel = map.dense(nullptr);
  call.channels_last = map.dense(by_pixel) && (!by_channel || channels > pixels);
  if (!by_channel && !call.channels_last) return nullptr;
  if (channel != Py_None && !bottleneck(&call, channel)) return nullptr;
  if (planes != Py_None && !spatial(&call, planes)) return nullptr;
  if (!(call.hidden || call.size) || call.type != map.type) return nullptr;
  bool learns = false;
  if (!infers()) {
    learns = requires_gradient(x);
    for (int i = 0; i < kSlots && !learns; ++i) learns = requires_gradient(call.slots[i]);
  }
  call.training = learns;
  Tensor made;
  const bool kept = learns || call.batch_norm;
  Ref y(like(x, map, &made)), state(kept ? state_of(&call) : nullptr);
  if (!y.object || !made.dense(call.order()) || (kept && !state.object)) return nullptr;
  call.y = made.is.data;
  int status;
  Py_BEGIN_ALLOW_THREADS;
  status = forward(&call);
  Py_END_ALLOW_THREADS;
  if (status) return nullptr;
  if (learns) return learned(call, y.object, state.object);
  Py_INCREF(y.object);
  return y.object;
}

const char kGated[] =
    "gated(x, channel, spatial, channels, offset, maxima)\n--\n\n"
    "Return the gated map, or None where gate_images.py must decide. Where a gradient is wanted: a tuple of the map and of\n"
    "what gradients() takes.\n\n"
    "x is the map; channel a module of fc1, act and fc2, or None; spatial one of conv and norm, or None.";

PyObject* gated(PyObject*, PyObject* const* given, Py_ssize_t count) {
  if (count != 6) return PyErr_Format(PyExc_TypeError, "gated takes 6 arguments, got %zd", count);
  if (!forward) Py_RETURN_NONE;
  const int64_t channels = PyLong_AsLongLong(given[3]);
  const double offset = PyFloat_AsDouble(given[4]);
  const int maxima = PyObject_IsTrue(given[5]);
  PyObject* y = PyErr_Occurred() ? nullptr : computed(given[0], given[1], given[2], channels, offset, maxima);
  if (y) return y;
  PyErr_Clear();  // Python meets the same, and says it
  Py_RETURN_NONE;
}

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
  int status;
  Py_BEGIN_ALLOW_THREADS;
  status = backward(&call, &gradients);
  Py_END_ALLOW_THREADS;
  return status ? nullptr : tuple_of(all, 1 + kSlots);
}

const char kGradients[] =
    "gradients(record, dy, x, weights, state, norm, wanted)\n--\n\n"
    "Return the gradients of the map and of the eight weights, None where one is not wanted; or None where gate_images.py\n"
    "must compute them.\n\n"
    "record, state and norm are what gated() returned, weights what they have become, wanted eight flags.";

PyObject* gradients(PyObject*, PyObject* const* given, Py_ssize_t count) {
  if (count != 7) return PyErr_Format(PyExc_TypeError, "gradients takes 7 arguments, got %zd", count);
  if (!backward) Py_RETURN_NONE;
  PyObject* found = differentiated(given[0], given[1], given[2], given[3], given[4], given[5], given[6]);
  if (found) return found;
  PyErr_Clear();
  Py_RETURN_NONE;
}

}  // namespace

bool take_gate_images(void* address, int64_t record) {
  if (record != sizeof(AttnzooGate)) return false;
  forward = (decltype(forward))address;
  return true;
}

bool take_gate_images_backward(void* address, int64_t record) {
  if (record != sizeof(AttnzooGradients)) return false;
  backward = (decltype(backward))address;
  return true;
}

PyMethodDef gated_method = {"gated", (PyCFunction)(void (*)(void))gated, METH_FASTCALL, kGated};
PyMethodDef gradients_method = {"gradients", (PyCFunction)(void (*)(void))gradients, METH_FASTCALL, kGradients};

}  // namespace eager
