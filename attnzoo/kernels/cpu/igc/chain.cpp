// Blocks of CEDNN from a record of their modules. Shapes are checked here, because checking a hundred tensors in Python is
// slow.
#include "../field.h"
#include "../kernel.h"
#include "record.h"

ATTNZOO_EXPORT(igc_block)(int count, const AttnzooIgc* blocks, const AttnzooStage* stages, const AttnzooIgcMaps* maps);

namespace attnzoo {
namespace ATTNZOO_ISA {
namespace {

constexpr int kMost = 32;     // largest number of blocks of a chain
constexpr int kFields = 18;   // per block: weight, bias, gain, offset, mean and variance of each of three stages
constexpr int kNumbers = 4;   // per block: groups of the first stage, the epsilons
constexpr int kOptions = 2;   // per block: whether its output is pooled, the number added to its guiding maps

template <int Rank> bool is_shaped(const AttnzooField& field, int64_t dtype, const int64_t (&sizes)[Rank]) {
  for (int axis = 0; axis < Rank; ++axis)
    if (field.sizes[axis] != sizes[axis]) return false;
  return field.dtype == dtype && field.rank == Rank && attnzoo_contiguous(field);
}

struct Chain {
  AttnzooIgc blocks[kMost];
  AttnzooStage stages[3 * kMost];
  AttnzooIgcMaps maps[kMost];
  int count = 0;
  AttnzooIgc next;  // geometry of the next block's input

  bool begin(const AttnzooField& x, int64_t threads) {
    if (x.rank != 4 || x.count == 0 || x.dtype < kAttnzooFloat32 || x.dtype > kAttnzooFloat16 || !attnzoo_contiguous(x))
      return false;
    next = {};
    next.batch = x.sizes[0], next.given = x.sizes[1], next.height = x.sizes[2], next.width = x.sizes[3];
    next.dtype = (int32_t)x.dtype, next.threads = (int32_t)threads;
    return threads > 0;
  }

  // Reads a convolution and its norm; the weight's shape has been checked.
  bool stage(const AttnzooField* fields, double epsilon, AttnzooStage* to) {
    for (int i = 1; i < 6; ++i) {
      const bool optional = i < 4 && fields[i].dtype == kAttnzooAbsent;
      if (!optional && !is_shaped(fields[i], kAttnzooFloat32, {fields->sizes[0]})) return false;
    }
    const auto at = [&](int i) { return (const float*)fields[i].data; };
    *to = {at(0), at(1), at(2), at(3), at(4), at(5), epsilon};
    return true;
  }

  // The channels that come one after the other under one guiding map are `span`; those of the map are n + 1 such spans.
  bool guided(AttnzooIgc* block, const AttnzooField& guides) {
    block->span = smaller(block->given, block->channels);
    if (guides.dtype == kAttnzooAbsent) return true;
    const int64_t count = block->maps = guides.rank == 4 ? guides.sizes[1] : 0;
    if (count == 0 || block->channels % (count + 1)) return false;
    if (!is_shaped(guides, block->dtype, {block->batch, count, block->height, block->width})) return false;
    block->span = smaller(block->given, block->channels / (count + 1));
    return block->given % block->span == 0 && block->channels % ((count + 1) * block->span) == 0;
  }

  bool add(const AttnzooField* fields, const double* numbers, const double* options, const AttnzooField& guides) {
    AttnzooIgc block = next;
    const AttnzooField &first = fields[0], &last = fields[12];
    const int64_t channels = block.channels = first.sizes[0], groups = block.groups = (int64_t)numbers[0];
    if (groups < 1 || channels < 1 || channels % groups || block.given < 1 || channels % block.given) return false;
    block.outputs = last.sizes[0], block.dense = last.sizes[1] != channels;
    if (!is_shaped(first, kAttnzooFloat32, {channels, channels / groups, 3, 3})) return false;
    if (!is_shaped(fields[6], kAttnzooFloat32, {channels, groups, 1, 1})) return false;
    if (!is_shaped(last, kAttnzooFloat32, {block.outputs, (block.dense ? 2 : 1) * channels, 1, 1})) return false;
    for (int k = 0; k < 3; ++k)
      if (!stage(fields + 6 * k, numbers[1 + k], stages + 3 * count + k)) return false;
    block.pool = options[0] != 0, block.plus = (float)options[1];
    const int64_t least = block.pool ? 2 : 1;
    if (block.height < least || block.width < least || !guided(&block, guides)) return false;
    maps[count] = {nullptr, guides.data, nullptr, nullptr, nullptr};
    blocks[count++] = block;
    next.given = block.outputs, next.height /= least, next.width /= least;
    return true;
  }

  // Connects the blocks: each reads the output of the one before, in turn from one of two buffers into the other.
  int run(const void* x, void* y) {
    int64_t sizes[2] = {};
    for (int i = 0; i + 1 < count; ++i) {
      const AttnzooIgc& to = blocks[i + 1];
      sizes[i % 2] = larger(sizes[i % 2], ceil_div(to.batch * to.given * to.height * to.width, kLine) * kLine);
    }
    const Scratch between(sizes[0] + sizes[1]);
    if (between.failed()) return kNoMemory;
    for (int i = 0; i < count; ++i) {
      maps[i].x = i == 0 ? x : maps[i - 1].y;
      maps[i].y = i + 1 == count ? (void*)y : between.data() + (i % 2 ? sizes[0] : 0);
    }
    return ATTNZOO_NAME(igc_block, ATTNZOO_ISA)(count, blocks, stages, maps);
  }
};

}  // namespace
}  // namespace ATTNZOO_ISA
}  // namespace attnzoo

using namespace attnzoo::ATTNZOO_ISA;

// `count` blocks, one after the other. The record's fields: x, each block's guiding maps (or an absent field), each block's
// kFields; then the numbers: kNumbers of each block, kOptions of each block. y has `elements` elements. Returns
// kUnknownSize, without computing anything, if a shape does not fit.
ATTNZOO_EXPORT(igc_chain)(int64_t count, int64_t threads, const AttnzooField* fields, void* y, int64_t elements) {
  const double* numbers = (const double*)(fields + 1 + count + kFields * count);
  const double* options = numbers + kNumbers * count;
  Chain chain;
  bool fits = count > 0 && count <= kMost && chain.begin(fields[0], threads);
  for (int64_t i = 0; i < count && fits; ++i)
    fits = chain.add(fields + 1 + count + kFields * i, numbers + kNumbers * i, options + kOptions * i, fields[1 + i]);
  const AttnzooIgc& last = chain.next;
  if (!fits || last.batch * last.given * last.height * last.width != elements) return kUnknownSize;
  return chain.run(fields->data, y);
}
