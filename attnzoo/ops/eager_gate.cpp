// The way of gate_images.py to its kernel in eager inference, without Python in between: what the modules hold is read,
// the output made and the kernel called in one go. Whatever is out of the ordinary is left to gate_images.py, by
// returning None: it decides, and it complains.
//
// Between two large layers Python is cold, and takes several times what it takes in a loop: on small maps a third of a
// call. This reads each time what Python would read, and keeps nothing from call to call.
//
// It goes by Python's stable interface and DLPack's, and by nothing of torch's.
#define Py_LIMITED_API 0x030B0000
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "../kernels/cpu/gate_record.h"

namespace {

// DLPack 1.3, as far as it is used: how a tensor says where and what it is.
struct Described {
  void* data;
  int32_t device_type, device_id, rank;
  uint8_t kind, bits;
  uint16_t lanes;
  int64_t *shape, *strides;
  uint64_t byte_offset;
};
struct Exchange {
  struct {
    uint32_t major, minor;
    void* previous;
  } header;
  void *allocate, *from_object, *to_object;
  int (*describe)(void* object, Described* out);
  void* stream;
};
constexpr int32_t kCpu = 1;
constexpr uint8_t kFloat = 2, kBfloat = 4;

struct Ref {  // owns an object, or none
  PyObject* object;
  explicit Ref(PyObject* owned) : object(owned) {}
  Ref(const Ref&) = delete;
  Ref& operator=(const Ref&) = delete;
  ~Ref() { Py_XDECREF(object); }
};

// What `prepare` is given, for the life of the process.
int (*kernel)(const AttnzooGate*) = nullptr;
const Exchange* exchange = nullptr;
PyObject *tensor, *parameter, *convolution, *relu, *sigmoid, *batch_norm, *identity;  // types
PyObject* absent[3];  // functions that return None where nobody transforms, traces or listens
PyObject *grad_enabled, *dispatch_modes, *threads, *empty_like;  // functions
PyObject *forward_ad, *chosen, *module_globals;  // the dictionary of one module, the backend's choice, another's dictionary

// Names.
PyObject *hooks[4], *global_hooks[6];  // of a module's, of all modules'
PyObject *modules_, *parameters_, *buffers_, *training_, *eps_, *name_, *level_;
PyObject *fc1_, *act_, *fc2_, *gate_, *conv_, *norm_, *weight_, *bias_, *mean_, *variance_;

PyObject* attributes(PyObject* object) { return PyObject_GenericGetDict(object, nullptr); }
bool is(PyObject* object, PyObject* type) { return (PyObject*)Py_TYPE(object) == type; }

int64_t number(PyObject* made) {  // of a call; -1 if it failed
  Ref held(made);
  return made ? PyLong_AsLongLong(made) : -1;
}

// The dictionary of a module that nobody watches; empty if anybody does, or it is no module.
PyObject* unwatched(PyObject* module) {
  PyObject* own = attributes(module);
  for (PyObject* name : hooks) {
    PyObject* found = own ? PyDict_GetItemWithError(own, name) : nullptr;
    if (!found || !PyDict_Check(found) || PyDict_Size(found) != 0) return Py_XDECREF(own), nullptr;
  }
  return own;
}

PyObject* in(PyObject* own, PyObject* which, PyObject* name) {  // borrowed
  PyObject* held = own ? PyDict_GetItemWithError(own, which) : nullptr;
  return held && PyDict_Check(held) ? PyDict_GetItemWithError(held, name) : nullptr;
}

// A tensor on the CPU of a type that the kernels take.
struct Tensor {
  Described is;
  int64_t type, count = 1;
  bool read(PyObject* object) {
    if (exchange->describe(object, &is) || is.device_type != kCpu || is.lanes != 1 || is.byte_offset) return false;
    type = is.bits == 32 && is.kind == kFloat ? 0 : is.bits != 16 ? -1 : is.kind == kBfloat ? 1 : is.kind == kFloat ? 2 : -1;
    for (int i = 0; i < is.rank; ++i) count *= is.shape[i];
    return type >= 0 && is.data;
  }
  bool dense(const int* order) const {  // the last of the order being next to each other in memory
    int64_t step = 1;
    for (int i = is.rank - 1; i >= 0; --i) {
      const int axis = order ? order[i] : i;
      if (is.shape[axis] != 1 && is.strides[axis] != step) return false;
      step *= is.shape[axis];
    }
    return true;
  }
};

// A call in the making, and the tensors that it points into: another thread may let go of them while the kernel runs.
struct Call : AttnzooGate {
  PyObject* kept[12];
  int count = 0;
  Call() : AttnzooGate() {}
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;
  ~Call() {
    while (count) Py_DECREF(kept[--count]);
  }
  void keep(PyObject* object) {
    Py_INCREF(object);
    kept[count++] = object;
  }
};

// What an optional parameter holds: `count` values of one type, one after the other. False if it is something else.
bool vector(Call* call, PyObject* found, int64_t count, const void** at) {
  if (found == Py_None) return true;
  Tensor t;
  if (!found || !is(found, parameter) || !t.read(found) || t.type != call->type || t.count != count) return false;
  call->keep(found);
  *at = t.is.data;
  return t.dense(nullptr);
}

bool nobody_looks() {
  for (PyObject* name : global_hooks) {
    PyObject* found = PyDict_GetItemWithError(module_globals, name);
    if (!found || !PyDict_Check(found) || PyDict_Size(found) != 0) return false;
  }
  for (PyObject* ask : absent) {
    Ref said(PyObject_CallNoArgs(ask));
    if (said.object != Py_None) return false;
  }
  if (number(PyObject_CallNoArgs(dispatch_modes)) != 0) return false;
  PyObject* level = PyDict_GetItemWithError(forward_ad, level_);
  if (!level || PyLong_AsLong(level) != -1) return false;
  Ref learns(PyObject_CallNoArgs(grad_enabled)), name(PyObject_GetAttr(chosen, name_));
  if (learns.object != Py_False || !name.object) return false;
  return !PyUnicode_CompareWithASCIIString(name.object, "auto") || !PyUnicode_CompareWithASCIIString(name.object, "native");
}

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
  call->keep(reduce), call->keep(expand);
  call->reduce = inner.is.data, call->expand = outer.is.data;
  return vector(call, in(first.object, parameters_, bias_), call->hidden, &call->reduce_bias) &&
         vector(call, in(second.object, parameters_, bias_), call->channels, &call->expand_bias);
}

// What a norm of one channel goes by. False if it is something else.
bool running(Call* call, PyObject* found, int64_t* type, void** at) {
  Tensor t;
  if (!found || !is(found, tensor) || !t.read(found) || t.count != 1) return false;
  call->keep(found);
  *type = t.type, *at = t.is.data;
  return true;
}

// A convolution from two planes to one, conv, and a norm behind it that goes by what it has seen in training, norm.
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
  call->keep(weight);
  call->type = w.type, call->weight = w.is.data;
  call->plane = w.is.strides[1], call->row = w.is.strides[2], call->column = w.is.strides[3];
  if (!vector(call, in(first.object, parameters_, bias_), 1, &call->bias)) return false;
  if (is(norm, identity)) return true;
  PyObject *trains = PyDict_GetItemWithError(second.object, training_), *eps = PyDict_GetItemWithError(second.object, eps_);
  if (trains != Py_False || !eps || !PyFloat_Check(eps)) return false;
  int64_t other = 0;
  call->normed = 1, call->epsilon = PyFloat_AsDouble(eps);
  return vector(call, in(second.object, parameters_, weight_), 1, &call->gain) &&
         vector(call, in(second.object, parameters_, bias_), 1, &call->shift) &&
         running(call, in(second.object, buffers_, mean_), &call->running, &call->mean) &&
         running(call, in(second.object, buffers_, variance_), &other, &call->variance) && other == call->running;
}

// The gated map, an owned object; null if it is not for this way, and perhaps with an error set.
PyObject* computed(PyObject* x, PyObject* channel, PyObject* planes, int64_t channels, double offset, int64_t maxima) {
  static const int by_pixel[] = {0, 2, 3, 1};
  if (!(is(x, tensor) || is(x, parameter)) || !nobody_looks()) return nullptr;
  Tensor map;
  if (!map.read(x) || map.is.rank != 4 || map.is.shape[1] != channels || map.count == 0) return nullptr;
  Call call;
  call.batch = map.is.shape[0], call.channels = channels, call.height = map.is.shape[2], call.width = map.is.shape[3];
  call.keep(x);
  call.dtype = map.type, call.x = map.is.data, call.maxima = maxima, call.offset = offset;
  call.threads = number(PyObject_CallNoArgs(threads));
  const int64_t pixels = call.height * call.width;
  if (call.threads < 1 || call.batch < call.threads || call.batch * pixels == 1) return nullptr;
  const bool by_channel = map.dense(nullptr);
  call.channels_last = map.dense(by_pixel) && (!by_channel || channels > pixels);
  if (!by_channel && !call.channels_last) return nullptr;
  if (channel != Py_None && !bottleneck(&call, channel)) return nullptr;
  if (planes != Py_None && !spatial(&call, planes)) return nullptr;
  if (!(call.hidden || call.size) || call.type != map.type) return nullptr;
  Ref y(PyObject_CallFunctionObjArgs(empty_like, x, nullptr));
  Tensor made;
  if (!y.object || !is(y.object, tensor) || !made.read(y.object)) return nullptr;
  if (made.type != map.type || made.count != call.batch * channels * pixels) return nullptr;
  if (made.is.rank != 4 || !made.dense(call.channels_last ? by_pixel : nullptr)) return nullptr;
  call.y = made.is.data;
  int status;
  Py_BEGIN_ALLOW_THREADS;
  status = kernel(&call);
  Py_END_ALLOW_THREADS;
  if (status) return nullptr;
  Py_INCREF(y.object);
  return y.object;
}

const char kGated[] =
    "gated(x, channel, spatial, channels, offset, maxima)\n--\n\n"
    "Return the gated map, or None where gate_images.py must decide.\n\n"
    "x is the map; channel a module of fc1, act and fc2, or None; spatial one of conv and norm, or None.";

PyObject* gated(PyObject*, PyObject* const* given, Py_ssize_t count) {
  if (count != 6) return PyErr_Format(PyExc_TypeError, "gated takes 6 arguments, got %zd", count);
  if (!kernel) Py_RETURN_NONE;
  const int64_t channels = PyLong_AsLongLong(given[3]);
  const double offset = PyFloat_AsDouble(given[4]);
  const int maxima = PyObject_IsTrue(given[5]);
  PyObject* y = PyErr_Occurred() ? nullptr : computed(given[0], given[1], given[2], channels, offset, maxima);
  if (y) return y;
  PyErr_Clear();  // Python meets the same, and says it
  Py_RETURN_NONE;
}

const char kPrepare[] =
    "prepare(kernel, record, exchange, types, functions, objects)\n--\n\n"
    "Take what calls go by: the kernel's address, the bytes of what it is given, DLPack's capsule of torch, and what\n"
    "eager.py names. A kernel or a DLPack of another version than this was built with is not taken.";

PyObject* prepare(PyObject*, PyObject* arguments) {
  PyObject *address, *capsule, *types, *functions, *objects;
  Py_ssize_t record;
  if (!PyArg_ParseTuple(arguments, "OnOO!O!O!", &address, &record, &capsule, &PyTuple_Type, &types, &PyTuple_Type, &functions,
                        &PyTuple_Type, &objects))
    return nullptr;
  PyObject** slots[][8] = {
      {&tensor, &parameter, &convolution, &relu, &sigmoid, &batch_norm, &identity, nullptr},
      {&absent[0], &absent[1], &absent[2], &grad_enabled, &dispatch_modes, &threads, &empty_like, nullptr},
      {&forward_ad, &chosen, &module_globals, nullptr},
  };
  PyObject* tuples[] = {types, functions, objects};
  for (int i = 0; i < 3; ++i)
    for (int j = 0; slots[i][j]; ++j) {
      PyObject* found = PyTuple_GetItem(tuples[i], j);
      if (!found) return nullptr;
      Py_INCREF(found);  // for the life of the process
      *slots[i][j] = found;
    }
  auto* offered = (const Exchange*)PyCapsule_GetPointer(capsule, "dlpack_exchange_api");
  void* function = PyLong_AsVoidPtr(address);
  if (!offered || PyErr_Occurred()) return nullptr;
  if (record != sizeof(AttnzooGate) || offered->header.major != 1) Py_RETURN_NONE;
  exchange = offered;
  kernel = (int (*)(const AttnzooGate*))function;
  Py_RETURN_NONE;
}

bool names() {
  const struct {
    PyObject** where;
    const char* text;
  } all[] = {
      {&hooks[0], "_forward_hooks"}, {&hooks[1], "_forward_pre_hooks"},
      {&hooks[2], "_backward_hooks"}, {&hooks[3], "_backward_pre_hooks"},
      {&global_hooks[0], "_global_backward_pre_hooks"}, {&global_hooks[1], "_global_backward_hooks"},
      {&global_hooks[2], "_global_forward_hooks"}, {&global_hooks[3], "_global_forward_pre_hooks"},
      {&global_hooks[4], "_global_forward_hooks_always_called"}, {&global_hooks[5], "_global_forward_hooks_with_kwargs"},
      {&modules_, "_modules"}, {&parameters_, "_parameters"}, {&buffers_, "_buffers"}, {&training_, "training"},
      {&eps_, "eps"}, {&name_, "name"}, {&level_, "_current_level"}, {&fc1_, "fc1"}, {&act_, "act"}, {&fc2_, "fc2"},
      {&gate_, "gate"}, {&conv_, "conv"}, {&norm_, "norm"}, {&weight_, "weight"}, {&bias_, "bias"},
      {&mean_, "running_mean"}, {&variance_, "running_var"},
  };
  for (const auto& one : all)
    if (!(*one.where = PyUnicode_InternFromString(one.text))) return false;
  return true;
}

PyMethodDef methods[] = {
    {"gated", (PyCFunction)(void (*)(void))gated, METH_FASTCALL, kGated},
    {"prepare", prepare, METH_VARARGS, kPrepare},
    {nullptr, nullptr, 0, nullptr},
};
PyModuleDef definition = {PyModuleDef_HEAD_INIT, "eager_gate", "gate_images.py's way to the kernel in eager inference.", -1,
                          methods, nullptr, nullptr, nullptr, nullptr};

}  // namespace

PyMODINIT_FUNC PyInit_eager_gate() { return names() ? PyModule_Create(&definition) : nullptr; }
