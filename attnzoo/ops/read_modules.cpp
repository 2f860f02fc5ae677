// Reads the tensors and numbers of modules, checks the modules against tables, and calls a kernel on the values. The
// functions `read` and `call` in reading.py document the results; `read_in_python` there does the same in Python.
//
// This file contains nothing specific to a layer. Of torch it uses the names of three dictionaries of a module and
// DLPack's C exchange API; `prepare` is given the functions of torch that it calls. It is built for Python's stable ABI.
#define Py_LIMITED_API 0x030B0000
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <cstring>
#include <vector>

#include "../kernels/cpu/field.h"

namespace {

// The part of DLPack 1.3 that is used: the description of a tensor's memory.
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
};
constexpr int32_t kCpu = 1;
constexpr uint8_t kInt = 0, kFloat = 2, kBfloat = 4;

struct Ref {  // owns a reference to an object, or null
  PyObject* object;
  explicit Ref(PyObject* owned) : object(owned) {}
  Ref(const Ref&) = delete;
  Ref& operator=(const Ref&) = delete;
  ~Ref() { Py_XDECREF(object); }
  bool is(PyObject* other) const { return object == other; }
};

struct Objects {  // owns a reference to each object
  std::vector<PyObject*> all;
  ~Objects() {
    for (PyObject* each : all) Py_DECREF(each);
  }
};

// The arguments of `prepare`, kept for the life of the process.
const Exchange* exchange;  // null before `prepare`
struct {
  PyObject *tensor, *parameter;                               // types
  PyObject *is_neg, *is_grad_enabled, *empty_like, *threads;  // functions
  PyObject *asked, *empty;    // pairs (function, values that it may return); dictionaries that must be empty
  PyObject *hooks, *methods;  // names of a module's hook dictionaries; names of methods that must not be replaced
} torch;

PyObject *modules_, *parameters_, *buffers_, *requires_grad_;  // interned attribute names

// The columns of a table's row: see `table` in reading.py.
enum Column { kParent, kName, kKinds, kParameters, kBuffers, kNumbers, kRequired, kColumns };

// Whether `tuple` is a tuple and `good` is true for each of its items; stops at the first for which it is not.
template <class Good> bool all_of(PyObject* tuple, Good good) {
  if (!tuple || !PyTuple_Check(tuple)) return false;
  const Py_ssize_t count = PyTuple_Size(tuple);
  for (Py_ssize_t i = 0; i < count; ++i)
    if (!good(PyTuple_GetItem(tuple, i))) return false;
  return true;
}

template <class Good> bool any_of(PyObject* tuple, Good good) {
  return tuple && PyTuple_Check(tuple) && !all_of(tuple, [&](PyObject* each) { return !good(each); });
}

bool equal(PyObject* a, PyObject* b) { return a == b || PyObject_RichCompareBool(a, b, Py_EQ) == 1; }
PyObject* item(PyObject* tuple, Py_ssize_t i) { return PyTuple_GetItem(tuple, i); }  // borrowed
PyObject* attribute(PyObject* own, PyObject* name) { return PyDict_GetItemWithError(own, name); }  // borrowed
PyObject* type_of(PyObject* object) { return (PyObject*)Py_TYPE(object); }

bool nothing_waits_for_all() {
  return all_of(torch.empty, [](PyObject* each) { return PyDict_Size(each) == 0; });
}

bool nothing_unusual_around() {
  return nothing_waits_for_all() &&
         all_of(torch.asked, [](PyObject* pair) {
           const Ref answer(PyObject_CallNoArgs(item(pair, 0)));
           return answer.object && any_of(item(pair, 1), [&](PyObject* allowed) { return equal(answer.object, allowed); });
         });
}

// Whether a module has no hooks and no replaced methods; `own` is its __dict__.
bool unwatched(PyObject* own) {
  return all_of(torch.hooks,
                [&](PyObject* name) {
                  PyObject* found = attribute(own, name);
                  return found && PyDict_Check(found) && PyDict_Size(found) == 0;
                }) &&
         all_of(torch.methods, [&](PyObject* name) { return !attribute(own, name); });
}

int64_t dtype_of(const Described& is) {
  if (is.kind == kFloat && is.bits == 32) return kAttnzooFloat32;
  if (is.kind == kBfloat && is.bits == 16) return kAttnzooBfloat16;
  if (is.kind == kFloat && is.bits == 16) return kAttnzooFloat16;
  return is.kind == kInt && is.bits == 64 ? kAttnzooInt64 : kAttnzooAbsent;
}

struct Reading {
  const bool learns;  // whether gradients are enabled
  std::vector<AttnzooField> fields;
  std::vector<double> numbers;
  Objects tensors;
  explicit Reading(bool learns) : learns(learns) {}

  // Adds the field of a plain dense CPU tensor or of None; false for any other object.
  bool add_tensor(PyObject* object) {
    if (!object) return false;
    Py_INCREF(object);  // first, because another thread may replace it while torch is called
    tensors.all.push_back(object);
    AttnzooField field = {};
    field.dtype = kAttnzooAbsent;
    if (object != Py_None && !describe(object, &field)) return false;
    fields.push_back(field);
    return true;
  }

  bool describe(PyObject* object, AttnzooField* field) const {
    if (type_of(object) != torch.tensor && type_of(object) != torch.parameter) return false;
    Described is;
    if (exchange->describe(object, &is) || is.device_type != kCpu) return false;
    if (is.lanes != 1 || is.byte_offset || is.rank > kAttnzooAxes) return false;
    field->data = is.data, field->dtype = dtype_of(is), field->rank = is.rank, field->count = 1;
    for (int i = 0; i < is.rank; ++i) {
      field->sizes[i] = is.shape[i], field->strides[i] = is.strides[i];
      field->count *= is.shape[i];
    }
    if (field->dtype == kAttnzooAbsent || (field->count && !field->data)) return false;
    if (!Ref(PyObject_CallFunctionObjArgs(torch.is_neg, object, nullptr)).is(Py_False)) return false;
    field->requires_grad = learns && Ref(PyObject_GetAttr(object, requires_grad_)).is(Py_True);
    return true;
  }

  bool add_held(PyObject* own, PyObject* which, PyObject* names) {
    PyObject* held = attribute(own, which);
    if (!held || !PyDict_Check(held)) return false;
    Py_INCREF(held);
    const Ref kept(held);
    return all_of(names, [&](PyObject* name) { return add_tensor(attribute(held, name)); });
  }

  bool add_number(PyObject* found) {
    if (!found || !(PyFloat_Check(found) || PyLong_Check(found))) return false;
    numbers.push_back(PyFloat_AsDouble(found));
    return !PyErr_Occurred();
  }

  // Adds the tensors and numbers that a row names; false if the module does not fit the row.
  bool add_module(PyObject* module, PyObject* own, PyObject* row) {
    PyObject* kinds = item(row, kKinds);
    const bool called = PyTuple_Size(kinds) == 0;  // the layer itself, which is being called
    const auto is_a = [&](PyObject* kind) { return type_of(module) == kind; };
    return own && (called || (any_of(kinds, is_a) && unwatched(own))) &&
           all_of(item(row, kRequired), [&](PyObject* pair) {
             PyObject* found = attribute(own, item(pair, 0));
             return found && equal(found, item(pair, 1));
           }) &&
           add_held(own, parameters_, item(row, kParameters)) && add_held(own, buffers_, item(row, kBuffers)) &&
           all_of(item(row, kNumbers), [&](PyObject* name) { return add_number(attribute(own, name)); });
  }

  bool add_part(PyObject* part) {
    Objects owns;  // the modules' __dict__s, row by row
    if (!PyTuple_Check(part) || PyTuple_Size(part) != 2) return false;
    return all_of(item(part, 1), [&](PyObject* row) {
      if (!PyTuple_Check(row) || PyTuple_Size(row) != kColumns || !PyTuple_Check(item(row, kKinds))) return false;
      PyObject* module = item(part, 0);
      const Py_ssize_t parent = PyLong_AsSsize_t(item(row, kParent));
      if (parent >= (Py_ssize_t)owns.all.size()) return false;
      if (parent >= 0) {
        PyObject* children = attribute(owns.all[parent], modules_);
        module = children && PyDict_Check(children) ? attribute(children, item(row, kName)) : nullptr;
      }
      PyObject* own = module ? PyObject_GenericGetDict(module, nullptr) : nullptr;
      if (own) owns.all.push_back(own);
      return add_module(module, own, row);
    });
  }

  bool wants_gradients() const {
    for (const AttnzooField& field : fields)
      if (field.requires_grad) return true;
    return false;
  }

  PyObject* result() const {
    const size_t first = fields.size() * sizeof(AttnzooField), second = numbers.size() * sizeof(double);
    const Ref record(PyBytes_FromStringAndSize(nullptr, (Py_ssize_t)(first + second)));
    const Ref held(PyTuple_New((Py_ssize_t)tensors.all.size()));
    if (!record.object || !held.object) return nullptr;
    char* to = PyBytes_AsString(record.object);
    if (first) memcpy(to, fields.data(), first);
    if (second) memcpy(to + first, numbers.data(), second);
    Py_ssize_t i = 0;
    for (PyObject* each : tensors.all) {
      Py_INCREF(each);
      PyTuple_SetItem(held.object, i++, each);
    }
    return PyTuple_Pack(2, record.object, held.object);
  }
};

const char kWrong[] = "read takes two tuples: parts, tensors; call takes kernel, options, parts, tensors (one at least), in_place";

// Reads tensors and parts and returns `use` of them; None where kernels may not read them.
template <class Use> PyObject* reading_of(PyObject* parts, PyObject* tensors, Use use) {
  if (!PyTuple_Check(parts) || !PyTuple_Check(tensors)) return PyErr_Format(PyExc_TypeError, "%s", kWrong);
  if (exchange && nothing_unusual_around()) {
    Reading reading(Ref(PyObject_CallNoArgs(torch.is_grad_enabled)).is(Py_True));
    const bool good = all_of(tensors, [&](PyObject* each) { return reading.add_tensor(each); }) &&
                      all_of(parts, [&](PyObject* part) { return reading.add_part(part); });
    if (good && !PyErr_Occurred()) return use(reading);
  }
  PyErr_Clear();  // an error is raised again when the layer calls its modules
  Py_RETURN_NONE;
}

const char kRead[] = "read(parts, tensors)\n--\n\nSee reading.py.";

PyObject* read(PyObject*, PyObject* const* given, Py_ssize_t count) {
  if (count != 2) return PyErr_Format(PyExc_TypeError, "%s", kWrong);
  return reading_of(given[0], given[1], [](const Reading& reading) { return reading.result(); });
}

const char kCall[] = "call(kernel, options, parts, tensors, in_place)\n--\n\nSee reading.py.";

PyObject* call(PyObject*, PyObject* const* given, Py_ssize_t count) {
  void* kernel = count == 5 ? PyLong_AsVoidPtr(given[0]) : nullptr;
  if (!kernel || !PyBytes_Check(given[1]) || !PyTuple_Check(given[3]) || PyTuple_Size(given[3]) < 1)
    return PyErr_Format(PyExc_TypeError, "%s", kWrong);
  const char* options = PyBytes_AsString(given[1]);
  return reading_of(given[2], given[3], [&](Reading& reading) -> PyObject* {
    if (reading.wants_gradients()) return reading.result();
    PyObject* x = reading.tensors.all[0];
    const Ref threads(PyObject_CallNoArgs(torch.threads));
    const int64_t many = threads.object ? PyLong_AsLongLong(threads.object) : 0;
    const Ref y(given[4] == Py_True ? (Py_INCREF(x), x) : PyObject_CallFunctionObjArgs(torch.empty_like, x, nullptr));
    AttnzooField out;
    if (many < 1 || !y.object || !reading.describe(y.object, &out)) return nullptr;
    const int64_t fields = (int64_t)reading.fields.size();
    reading.fields.resize(fields + reading.numbers.size() * sizeof(double) / sizeof(AttnzooField) + 1);
    memcpy(reading.fields.data() + fields, reading.numbers.data(), reading.numbers.size() * sizeof(double));
    PyThreadState* state = PyEval_SaveThread();
    const int status = ((AttnzooKernel)kernel)(reading.fields.data(), fields, options, many, out.data, nullptr, 0);
    PyEval_RestoreThread(state);
    if (status == kAttnzooUnfit) Py_RETURN_NONE;
    if (status) return PyErr_Format(PyExc_RuntimeError, "a kernel failed with status %d; memory may be full", status);
    Py_INCREF(y.object);
    return y.object;
  });
}

const char kNobodyWaits[] = "nobody_waits(*modules)\n--\n\nSee reading.py.";

PyObject* nobody_waits(PyObject*, PyObject* const* modules, Py_ssize_t count) {
  bool good = exchange && nothing_waits_for_all();
  for (Py_ssize_t i = 0; good && i < count; ++i) {
    const Ref own(PyObject_GenericGetDict(modules[i], nullptr));
    good = own.object && unwatched(own.object);
  }
  PyErr_Clear();
  return PyBool_FromLong(good);
}

const char kPrepare[] =
    "prepare(exchange, types, functions, surroundings, names)\n--\n\n"
    "Take what is asked of torch: DLPack's capsule, and pairs that are said at `torch` in read_modules.cpp.";

PyObject* prepare(PyObject*, PyObject* arguments) {
  PyObject* capsule;
  if (!PyArg_ParseTuple(arguments, "O(OO)(OOOO)(O!O!)(O!O!)", &capsule, &torch.tensor, &torch.parameter, &torch.is_neg,
                        &torch.is_grad_enabled, &torch.empty_like, &torch.threads, &PyTuple_Type, &torch.asked,
                        &PyTuple_Type, &torch.empty, &PyTuple_Type, &torch.hooks, &PyTuple_Type, &torch.methods))
    return nullptr;
  Py_INCREF(arguments);  // for the life of the process
  auto* offered = (const Exchange*)PyCapsule_GetPointer(capsule, "dlpack_exchange_api");
  if (!offered) return nullptr;
  if (offered->header.major == 1) exchange = offered;
  Py_RETURN_NONE;
}

PyMethodDef methods[] = {{"read", (PyCFunction)(void (*)(void))read, METH_FASTCALL, kRead},
                         {"call", (PyCFunction)(void (*)(void))call, METH_FASTCALL, kCall},
                         {"nobody_waits", (PyCFunction)(void (*)(void))nobody_waits, METH_FASTCALL, kNobodyWaits},
                         {"prepare", prepare, METH_VARARGS, kPrepare},
                         {}};
PyModuleDef definition = {PyModuleDef_HEAD_INIT, "read_modules", "Reads what modules hold.", -1, methods,
                          nullptr, nullptr, nullptr, nullptr};

bool names() {
  return (modules_ = PyUnicode_InternFromString("_modules")) && (parameters_ = PyUnicode_InternFromString("_parameters")) &&
         (buffers_ = PyUnicode_InternFromString("_buffers")) &&
         (requires_grad_ = PyUnicode_InternFromString("requires_grad"));
}

}  // namespace

PyMODINIT_FUNC PyInit_read_modules() { return names() ? PyModule_Create(&definition) : nullptr; }
