// The way of a chain of CEDNN's blocks to its kernel in eager inference, without Python in between: for one image it
// counts how long Python takes to read a hundred tensors. Whatever is out of the ordinary is left to igc_chain.py, by
// returning None.
#include "eager.h"

#include <stdlib.h>

#include "../kernels/cpu/igc/record.h"

namespace eager {
namespace {

constexpr int kMost = 16;      // blocks of a chain
constexpr int kEach = 19;      // objects that a block points into: six for each stage, and guiding maps
constexpr int64_t kLine = 64;  // bytes that a map is aligned to

int (*kernel)(int, const AttnzooIgc*, const AttnzooStage*, const AttnzooIgcMaps*) = nullptr;

struct Chain {
  AttnzooIgc blocks[kMost];
  AttnzooStage stages[3 * kMost];
  AttnzooIgcMaps maps[kMost];
  Kept<kMost * kEach + 1> keep;
  int count = 0;

  // What an optional or a needed vector of floats of a module is.
  bool floats(PyObject* found, int64_t length, const float** at) {
    return vector(keep, found, 0, length, (const void**)at);
  }
  bool running(PyObject* found, int64_t length, const float** at) {
    Tensor t;
    if (!found || !is(found, tensor) || !t.read(found) || t.type != 0 || t.count != length || !t.dense(nullptr)) return false;
    keep(found);
    *at = (const float*)t.is.data;
    return true;
  }
};

// A convolution, whose weight is described, and the norm behind it, which goes by what it has seen in training.
bool stage(Chain* chain, PyObject* conv, PyObject* norm, Tensor* weight, AttnzooStage* to) {
  if (!conv || !norm || !is(conv, convolution) || !is(norm, batch_norm)) return false;
  Ref first(unwatched(conv)), second(unwatched(norm));
  PyObject* found = in(first.object, parameters_, weight_);
  if (!found || !second.object || !is(found, parameter) || !weight->read(found)) return false;
  if (weight->type != 0 || weight->is.rank != 4 || !weight->dense(nullptr)) return false;
  chain->keep(found);
  to->weight = (const float*)weight->is.data;
  PyObject *trains = PyDict_GetItemWithError(second.object, training_), *eps = PyDict_GetItemWithError(second.object, eps_);
  if (trains != Py_False || !eps || !PyFloat_Check(eps)) return false;
  to->epsilon = PyFloat_AsDouble(eps);
  const int64_t outputs = weight->is.shape[0];
  return chain->floats(in(first.object, parameters_, bias_), outputs, &to->bias) &&
         chain->floats(in(second.object, parameters_, weight_), outputs, &to->gain) &&
         chain->floats(in(second.object, parameters_, bias_), outputs, &to->offset) &&
         chain->running(in(second.object, buffers_, mean_), outputs, &to->mean) &&
         chain->running(in(second.object, buffers_, variance_), outputs, &to->variance);
}

bool shaped(const Tensor& weight, int64_t outputs, int64_t inputs, int64_t side) {
  const int64_t* shape = weight.is.shape;
  return shape[0] == outputs && shape[1] == inputs && shape[2] == side && shape[3] == side;
}

// The channels of a block that come one after the other under one guiding map; 0 if the maps do not fit.
int64_t span(int64_t channels, int64_t given, int64_t maps) {
  if (channels % (maps + 1)) return 0;
  const int64_t count = given < channels / (maps + 1) ? given : channels / (maps + 1);
  return given % count || channels % ((maps + 1) * count) ? 0 : count;
}

bool guided(Chain* chain, AttnzooIgc* block, AttnzooIgcMaps* maps, PyObject* guide) {
  if (guide == Py_None) return true;
  Tensor t;
  if (!is(guide, tensor) || !t.read(guide) || t.type != block->dtype || t.is.rank != 4 || !t.dense(nullptr)) return false;
  if (t.is.shape[0] != block->batch || t.is.shape[2] != block->height || t.is.shape[3] != block->width) return false;
  block->maps = t.is.shape[1];
  block->span = block->maps ? span(block->channels, block->given, block->maps) : 0;
  chain->keep(guide);
  maps->maps = t.is.data;
  return block->span > 0;
}

// Adds one block (module, whether its output is halved, guiding maps or None, what is added to them) that reads a map.
bool add(Chain* chain, PyObject* link, PyObject* kind, PyObject* within, const AttnzooIgc& like) {
  if (chain->count == kMost || !PyTuple_Check(link) || PyTuple_Size(link) != 4) return false;
  PyObject* module = PyTuple_GetItem(link, 0);
  if (!is(module, kind)) return false;
  Ref own(unwatched(module));
  if (!own.object || PyDict_GetItemWithError(own.object, training_) != Py_False) return false;
  PyObject *branch = in(own.object, modules_, branch_), *layer = in(own.object, modules_, branch_layer_);
  if (!branch || !layer || !is(branch, within) || !is(layer, identity)) return false;
  Ref inner(unwatched(branch)), nothing(unwatched(layer));
  PyObject* groups = inner.object ? PyDict_GetItemWithError(inner.object, groups_) : nullptr;
  if (!groups || !nothing.object) return false;

  AttnzooIgc* block = chain->blocks + chain->count;
  AttnzooStage* stages = chain->stages + 3 * chain->count;
  AttnzooIgcMaps* maps = chain->maps + chain->count;
  *block = like, *maps = {};
  for (int k = 0; k < 3; ++k) stages[k] = {};
  Tensor weights[3];
  const struct {
    PyObject *modules, *conv, *norm;
  } names[] = {{inner.object, conv1_, norm1_}, {inner.object, conv2_, norm2_}, {own.object, fuse_, norm_}};
  for (int k = 0; k < 3; ++k) {
    PyObject* modules = names[k].modules;
    if (!stage(chain, in(modules, modules_, names[k].conv), in(modules, modules_, names[k].norm), weights + k, stages + k))
      return false;
  }
  const int64_t channels = block->channels = weights[0].is.shape[0], count = block->groups = PyLong_AsLongLong(groups);
  block->outputs = weights[2].is.shape[0];
  block->dense = weights[2].is.shape[1] != channels;
  if (count < 1 || channels % count || block->given < 1 || channels % block->given) return false;
  if (!shaped(weights[0], channels, channels / count, 3) || !shaped(weights[1], channels, count, 1)) return false;
  if (!shaped(weights[2], block->outputs, (block->dense ? 2 : 1) * channels, 1)) return false;
  block->pool = PyObject_IsTrue(PyTuple_GetItem(link, 1));
  block->plus = (float)PyFloat_AsDouble(PyTuple_GetItem(link, 3));
  if (block->height < 1 || block->width < 1 || (block->pool && (block->height < 2 || block->width < 2))) return false;
  block->span = block->given < channels ? block->given : channels;
  if (PyErr_Occurred() || !guided(chain, block, maps, PyTuple_GetItem(link, 2))) return false;
  ++chain->count;
  return true;
}

// Whether all of some modules are of one of these kinds, and nobody watches them.
bool plain(PyObject* modules, PyObject* kinds) {
  for (Py_ssize_t i = 0; i < PyTuple_Size(modules); ++i) {
    PyObject* module = PyTuple_GetItem(modules, i);
    bool known = false;
    for (Py_ssize_t k = 0; k < PyTuple_Size(kinds); ++k) known |= is(module, PyTuple_GetItem(kinds, k));
    if (!known) return false;
    Ref own(unwatched(module));
    if (!own.object) return false;
  }
  return true;
}

// The memory between blocks, of which one reads one half and writes the other.
struct Between {
  char* data = nullptr;
  int64_t halves[2] = {};
  ~Between() { free(data); }
  bool make() { return (data = (char*)aligned_alloc(kLine, halves[0] + halves[1] + kLine)) != nullptr; }
  char* half(int i) { return data + (i % 2 ? halves[0] : 0); }
};

// What the blocks make, an owned object; null if it is not for this way, and perhaps with an error set.
PyObject* computed(PyObject* x, PyObject* links, PyObject* kind, PyObject* within, PyObject* beside, PyObject* kinds) {
  if (!(is(x, tensor) || is(x, parameter)) || !infers() || !nobody_looks()) return nullptr;
  if (!plain(beside, kinds)) return nullptr;
  Tensor map;
  if (!map.read(x) || map.is.rank != 4 || map.count == 0 || !map.dense(nullptr)) return nullptr;
  const int64_t bytes = map.type == 0 ? 4 : 2;
  AttnzooIgc like = {};
  like.batch = map.is.shape[0], like.given = map.is.shape[1], like.height = map.is.shape[2], like.width = map.is.shape[3];
  like.dtype = (int32_t)map.type, like.threads = (int32_t)number(PyObject_CallNoArgs(threads));
  const Py_ssize_t count = PyTuple_Size(links);
  if (like.threads < 1 || count < 1) return nullptr;
  Chain chain;
  chain.keep(x);
  Between between;
  for (Py_ssize_t i = 0; i < count; ++i) {
    if (!add(&chain, PyTuple_GetItem(links, i), kind, within, like)) return nullptr;
    const AttnzooIgc& block = chain.blocks[i];
    like.given = block.outputs;
    if (block.pool) like.height /= 2, like.width /= 2;
    const int64_t size = (like.batch * like.given * like.height * like.width * bytes + kLine - 1) / kLine * kLine;
    if (i + 1 < count && size > between.halves[i % 2]) between.halves[i % 2] = size;
  }
  const long long shape[] = {like.batch, like.given, like.height, like.width};
  Ref y(PyObject_CallMethod(x, "new_empty", "((LLLL))", shape[0], shape[1], shape[2], shape[3]));
  Tensor made;
  if (!y.object || !is(y.object, tensor) || !made.read(y.object) || made.type != map.type || !made.dense(nullptr))
    return nullptr;
  if (made.count != like.batch * like.given * like.height * like.width || !between.make()) return nullptr;
  for (int i = 0; i < chain.count; ++i) {
    chain.maps[i].x = i ? between.half(i - 1) : map.is.data;
    chain.maps[i].y = i + 1 < chain.count ? between.half(i) : made.is.data;
  }
  if (without_python([&] { return kernel(chain.count, chain.blocks, chain.stages, chain.maps); })) return nullptr;
  Py_INCREF(y.object);
  return y.object;
}

const char kChained[] =
    "chained(x, links, kind, within, beside, kinds)\n--\n\n"
    "Return what blocks make of x, one after the other, or None where igc_chain.py must decide.\n\n"
    "A link is a block, whether its output is halved, guiding maps or None, and what is added to them. kind is the type\n"
    "of the blocks, within that of their branches; beside are modules of other kinds that nobody may be watching.";

PyObject* chained(PyObject*, PyObject* const* given, Py_ssize_t count) {
  if (count != 6) return PyErr_Format(PyExc_TypeError, "chained takes 6 arguments, got %zd", count);
  if (!kernel) Py_RETURN_NONE;
  const bool tuples = PyTuple_Check(given[1]) && PyTuple_Check(given[4]) && PyTuple_Check(given[5]);
  return or_none(tuples ? computed(given[0], given[1], given[2], given[3], given[4], given[5]) : nullptr);
}

}  // namespace

bool take_igc_block(void* address, int64_t record) {
  if (record != sizeof(AttnzooStage) + sizeof(AttnzooIgc) + sizeof(AttnzooIgcMaps)) return false;
  kernel = (decltype(kernel))address;
  return true;
}

PyMethodDef chained_method = {"chained", (PyCFunction)(void (*)(void))chained, METH_FASTCALL, kChained};

}  // namespace eager
