// The module of all ways past Python: see eager.py, which tells it of torch.
#include "eager.h"

namespace eager {
namespace {

const char kPrepare[] =
    "prepare(igc_block, exchange, types, functions, objects)\n--\n\n"
    "Take what calls go by: of each kernel its address and the bytes of what it is given, DLPack's capsule of torch, and\n"
    "what eager.py names. A kernel or a DLPack of another version than this was built with is not taken.";

PyObject* prepare(PyObject*, PyObject* arguments) {
  struct {
    PyObject* address;
    Py_ssize_t record;
    bool (*take)(void*, int64_t);
  } kernels[] = {{nullptr, 0, take_igc_block}};
  PyObject *capsule, *types, *functions, *objects;
  if (!PyArg_ParseTuple(arguments, "(On)OO!O!O!", &kernels[0].address, &kernels[0].record, &capsule, &PyTuple_Type,
                        &types, &PyTuple_Type, &functions, &PyTuple_Type, &objects))
    return nullptr;
  PyObject** slots[][8] = {
      {&tensor, &parameter, &convolution, &relu, &sigmoid, &batch_norm, &identity, nullptr},
      {&absent[0], &absent[1], &absent[2], &grad_enabled, &dispatch_modes, &threads, &empty_like, nullptr},
      {&forward_ad, &chosen, &module_globals, &floats, nullptr},
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
  if (!offered) return nullptr;
  if (offered->header.major != 1) Py_RETURN_NONE;
  exchange = offered;
  for (const auto& each : kernels) {
    void* address = PyLong_AsVoidPtr(each.address);
    if (PyErr_Occurred()) return nullptr;
    each.take(address, each.record);
  }
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
      {&eps_, "eps"}, {&name_, "name"}, {&level_, "_current_level"}, {&requires_grad_, "requires_grad"},
      {&fc1_, "fc1"}, {&act_, "act"}, {&fc2_, "fc2"}, {&gate_, "gate"}, {&conv_, "conv"}, {&norm_, "norm"},
      {&weight_, "weight"}, {&bias_, "bias"}, {&mean_, "running_mean"}, {&variance_, "running_var"},
      {&tracked_, "num_batches_tracked"}, {&follows_, "track_running_stats"}, {&momentum_, "momentum"},
      {&branch_, "branch"}, {&branch_layer_, "branch_layer"}, {&fuse_, "fuse"}, {&groups_, "groups"},
      {&conv1_, "conv1"}, {&norm1_, "norm1"}, {&conv2_, "conv2"}, {&norm2_, "norm2"},
  };
  for (const auto& one : all)
    if (!(*one.where = PyUnicode_InternFromString(one.text))) return false;
  return true;
}

PyMethodDef methods[] = {
    chained_method, {"prepare", prepare, METH_VARARGS, kPrepare}, {}};
PyModuleDef definition = {PyModuleDef_HEAD_INIT, "eager_calls", "Ways to kernels in eager mode.", -1,
                          methods, nullptr, nullptr, nullptr, nullptr};

}  // namespace
}  // namespace eager

PyMODINIT_FUNC PyInit_eager_calls() { return eager::names() ? PyModule_Create(&eager::definition) : nullptr; }
