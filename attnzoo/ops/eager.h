// What the ways to kernels in eager inference have in common: how a module and a tensor are read without Python, and who
// may be looking. A way reads each time what Python would read, and keeps nothing from call to call.
//
// They go by Python's stable interface and DLPack's, and by nothing of torch's.
#pragma once

#define Py_LIMITED_API 0x030B0000
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdint.h>

namespace eager {

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
constexpr uint8_t kInt = 0, kFloat = 2, kBfloat = 4;

struct Ref {  // owns an object, or none
  PyObject* object;
  explicit Ref(PyObject* owned) : object(owned) {}
  Ref(const Ref&) = delete;
  Ref& operator=(const Ref&) = delete;
  ~Ref() { Py_XDECREF(object); }
};

// What `prepare` is given, for the life of the process.
inline const Exchange* exchange;  // null until then
inline PyObject *tensor, *parameter, *convolution, *relu, *sigmoid, *batch_norm, *identity;  // types
inline PyObject* absent[3];  // functions that return None where nobody transforms, traces or listens
inline PyObject *grad_enabled, *dispatch_modes, *threads, *empty_like;  // functions
inline PyObject *forward_ad, *chosen, *module_globals;  // a module's dictionary, the backend's choice, another's dictionary
inline PyObject* floats;  // a tensor of float32 on the CPU

// Names.
inline PyObject *hooks[4], *global_hooks[6];  // of a module's, of all modules'
inline PyObject *modules_, *parameters_, *buffers_, *training_, *eps_, *name_, *level_, *requires_grad_;
inline PyObject *fc1_, *act_, *fc2_, *gate_, *conv_, *norm_, *weight_, *bias_, *mean_, *variance_;
inline PyObject *tracked_, *follows_, *momentum_;
inline PyObject *branch_, *branch_layer_, *fuse_, *groups_, *conv1_, *norm1_, *conv2_, *norm2_;

inline PyObject* attributes(PyObject* object) { return PyObject_GenericGetDict(object, nullptr); }
inline bool is(PyObject* object, PyObject* type) { return (PyObject*)Py_TYPE(object) == type; }

inline int64_t number(PyObject* made) {  // of a call; -1 if it failed
  Ref held(made);
  return made ? PyLong_AsLongLong(made) : -1;
}

// The dictionary of a module that nobody watches; empty if anybody does, or it is no module.
inline PyObject* unwatched(PyObject* module) {
  PyObject* own = attributes(module);
  for (PyObject* name : hooks) {
    PyObject* found = own ? PyDict_GetItemWithError(own, name) : nullptr;
    if (!found || !PyDict_Check(found) || PyDict_Size(found) != 0) return Py_XDECREF(own), nullptr;
  }
  return own;
}

inline PyObject* in(PyObject* own, PyObject* which, PyObject* name) {  // borrowed
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

// The objects that a call in the making points into: another thread may let go of them while the kernel runs.
template <int Room> struct Kept {
  PyObject* objects[Room];
  int count = 0;
  Kept() {}
  Kept(const Kept&) = delete;
  Kept& operator=(const Kept&) = delete;
  ~Kept() {
    while (count) Py_DECREF(objects[--count]);
  }
  void operator()(PyObject* object) {
    Py_INCREF(object);
    objects[count++] = object;
  }
};

// What an optional parameter holds: `count` values of one type, one after the other. False if it is something else.
template <class Keep> bool vector(Keep& keep, PyObject* found, int64_t type, int64_t count, const void** at) {
  if (found == Py_None) return true;
  Tensor t;
  if (!found || !is(found, parameter) || !t.read(found) || t.type != type || t.count != count) return false;
  keep(found);
  *at = t.is.data;
  return t.dense(nullptr);
}

inline bool nobody_looks() {
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
  Ref name(PyObject_GetAttr(chosen, name_));
  if (!name.object) return false;
  return !PyUnicode_CompareWithASCIIString(name.object, "auto") || !PyUnicode_CompareWithASCIIString(name.object, "native");
}

// Whether gradients are switched off.
inline bool infers() {
  Ref learns(PyObject_CallNoArgs(grad_enabled));
  return learns.object == Py_False;
}

// What a kernel returns, while other threads may use Python.
template <class Kernel> int without_python(Kernel kernel) {
  int status;
  Py_BEGIN_ALLOW_THREADS;
  status = kernel();
  Py_END_ALLOW_THREADS;
  return status;
}

// What a way has made, or None, and no error: Python meets the same, and says it.
inline PyObject* or_none(PyObject* made) {
  if (made) return made;
  PyErr_Clear();
  Py_RETURN_NONE;
}

// Each way is a method of the module. It takes the address of its kernel if what it fills for it has so many bytes.
extern PyMethodDef chained_method;
bool take_igc_block(void* address, int64_t record);

}  // namespace eager
