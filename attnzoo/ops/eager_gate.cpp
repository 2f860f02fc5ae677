// The way of gate_images.py to its kernel in eager mode, without Python in between: what the modules hold is read, the
// output made and the kernel called in one go. Whatever is out of the ordinary is left to gate_images.py, by returning
// None: it decides, and it complains.
//
// Between two large layers Python is cold, and takes several times what it takes in a loop: on small maps a third of a
// call.
#include "eager_gate.h"

namespace eager {
namespace {

int (*kernel)(const AttnzooGate*) = nullptr;

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

// What gate_images.py needs for a gradient: the map, the state, the call, what the norm goes by, the weights.
PyObject* learned(const Call& call, PyObject* y, PyObject* state) {
  Ref record(PyBytes_FromStringAndSize((const char*)static_cast<const AttnzooGate*>(&call), sizeof(AttnzooGate)));
  Ref norm(tuple_of(call.norm, 2)), weights(tuple_of(call.slots, kSlots));
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
  if (without_python([&] { return kernel(&call); })) return nullptr;
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
  if (!kernel) Py_RETURN_NONE;
  const int64_t channels = PyLong_AsLongLong(given[3]);
  const double offset = PyFloat_AsDouble(given[4]);
  const int maxima = PyObject_IsTrue(given[5]);
  return or_none(PyErr_Occurred() ? nullptr : computed(given[0], given[1], given[2], channels, offset, maxima));
}

}  // namespace

bool take_gate_images(void* address, int64_t record) {
  if (record != sizeof(AttnzooGate)) return false;
  kernel = (decltype(kernel))address;
  return true;
}

PyMethodDef gated_method = {"gated", (PyCFunction)(void (*)(void))gated, METH_FASTCALL, kGated};

}  // namespace eager
