// CEDNN's block without gradients: grouped 3x3, grouped 1x1 across the groups, connection, 1x1, each with its norm, and
// optionally the 2x2 maximum behind them. Nothing between the input and the output is written to memory.
#include "igc_strip.h"

// A convolution and the norm behind it, as torch keeps them.
struct AttnzooStage {
  const float *weight, *bias;               // bias may be null
  const float *gain, *offset;               // of the norm; both null if it is not affine
  const float *mean, *variance;
  double epsilon;
};

struct AttnzooIgc {
  int64_t batch, channels, height, width, groups, outputs;
  int64_t given;       // channels of x; the block's are these over and over
  int64_t maps, span;  // guiding maps; channels in a row that share one, the first of maps + 1 such spans none
  float plus;          // a channel is multiplied by its map + plus
  int32_t dense, pool, dtype, threads;
};

namespace attnzoo {
namespace ATTNZOO_ISA {

constexpr int64_t kStrip = 1 << 17;       // floats of a strip, to leave room in a core's cache of 1 MB
constexpr int64_t kWhole = 1 << 21;       // floats of the images that are computed together, channels by channels
constexpr int64_t kBand = 8;              // rows of a band, at most

// Scale and shift of every norm, the biases folded in.
class Affine {
 public:
  Affine(const AttnzooStage* stages, const AttnzooIgc& block)
      : data_(2 * (2 * block.channels + block.outputs)) {
    if (failed()) return;
    float* to = data_.data();
    for (int k = 0; k < 3; ++k) {
      const AttnzooStage& stage = stages[k];
      const int64_t count = k < 2 ? block.channels : block.outputs;
      this->stages[k] = {stage.weight, to, to + count};
      for (int64_t c = 0; c < count; ++c) {
        const double scale = (stage.gain ? stage.gain[c] : 1.) / __builtin_sqrt(stage.variance[c] + stage.epsilon);
        to[c] = (float)scale;
        to[count + c] = (float)(((stage.bias ? stage.bias[c] : 0.) - stage.mean[c]) * scale +
                                (stage.offset ? stage.offset[c] : 0.));
      }
      to += 2 * count;
    }
  }
  bool failed() const { return data_.failed(); }
  Stage stages[3];

 private:
  Scratch data_;
};

// One band of one image: its strip, and what the stages make of each tile in turn or of all tiles.
template <class Grid, class T> struct Band {
  const AttnzooIgc& block;
  const Stage* stages;
  const Grid& grid;
  int64_t size, image, top, rows;  // floats of a channel of the strip; output rows
  float* strip;

  int64_t strip_channels() const { return block.maps ? block.channels : block.given; }
  int64_t depth() const { return (block.dense ? 2 : 1) * block.channels; }
  int64_t members() const { return block.channels / block.groups; }
  int64_t tiles() const { return ceil_div(rows * grid.stride, Grid::kStep); }
  Strip channels() const { return {strip, strip_channels(), size}; }

  ATTNZOO_HOT void fill_channel(int64_t c, const T* x, const T* maps, const float* gate) const {
    const int64_t area = block.height * block.width, given = image * block.given + c % block.given;
    const int64_t map = block.maps ? c / block.span % (block.maps + 1) : 0;
    const T* guide = map ? maps + (image * block.maps + map - 1) * area : nullptr;
    fill(grid, strip + c * size, size, block.width, top, rows, [&](int64_t y) {
      const bool there = y >= 0 && y < block.height;
      return Row<T>{there ? x + given * area + y * block.width : nullptr, guide ? guide + y * block.width : nullptr,
                    gate ? gate[given] : 1, block.plus};
    });
  }

  // Block `index` of group `group`, for one tile.
  void first(int64_t tile, int64_t group, int64_t index, float* z) const {
    const Blocks blocks(members());
    const int64_t o = group * members() + blocks.begin(index);
    with_count(blocks.extent(index), [&](auto count) {
      convolve<count.value>(grid, channels(), tile * Grid::kStep, group * members(), members(), stages[0], o,
                            z + o * kTile);
    });
  }

  // Partition `member`, for one tile.
  void second(int64_t tile, int64_t member, const float* z, float* t) const {
    const Blocks blocks(block.groups);
    const int64_t pixel = tile * Grid::kStep;
    for (int64_t k = 0; k < blocks.count; ++k) {
      with_count(blocks.extent(k), [&](auto count) {
        mix<count.value>(grid, channels(), pixel, members(), block.groups, member, blocks.begin(k), !block.dense,
                         stages[1], z, t);
      });
    }
    if (!block.dense) return;
    for (int64_t c = member; c < block.channels; c += members())
      pass(grid, channels().channel(c), pixel, t + (block.channels + c) * kTile);
  }

  // Outputs of one tile.
  struct Where {
    Landing landings[kVectors];
  };
  Where where(int64_t tile) const {
    Where found;
    const int64_t width = Grid::kPooled ? block.width / 2 : block.width;
    for (int v = 0; v < (Grid::kPooled ? 1 : kVectors); ++v)
      found.landings[v] = Landing(tile * Grid::kStep + v * kLanes, rows, width, grid.stride);
    return found;
  }
  void third(const Where& to, int64_t index, const float* t, T* y, float* totals) const {
    const Blocks blocks(block.outputs);
    const int64_t o = blocks.begin(index);
    const int64_t height = Grid::kPooled ? block.height / 2 : block.height;
    const int64_t width = Grid::kPooled ? block.width / 2 : block.width;
    T* out = y + image * block.outputs * height * width + top * width;
    with_count(blocks.extent(index), [&](auto count) {
      fuse<count.value, Grid>(to.landings, stages[2], o, depth(), t, out, height * width, totals);
    });
  }
};

template <class Grid, class T> struct Run {
  const AttnzooIgc& block;
  const Stage* stages;
  const T *x, *maps;
  const float* gate;
  T* y;
  float* means;
  Grid grid;
  int64_t height, bands, rows, size;

  Run(const AttnzooIgc& block, const Stage* stages, const T* x, const T* maps, const float* gate, T* y, float* means)
      : block(block), stages(stages), x(x), maps(maps), gate(gate), y(y), means(means), grid(block.width),
        height(Grid::kPooled ? block.height / 2 : block.height) {
    const int64_t row = (block.maps ? block.channels : block.given) * grid.stride * (Grid::kPooled ? 4 : 1);
    bands = ceil_div(height, larger(1, smaller(kBand, kStrip / row - (Grid::kPooled ? 1 : 2))));
    if (bands > 2) bands = ceil_div(bands, 4) * 4;  // an even share for two threads and for four
    rows = ceil_div(height, smaller(bands, height));
    bands = ceil_div(height, rows);
    size = channel_size(grid, rows);
  }

  int64_t flops_like() const { return block.batch * block.channels * block.height * block.width; }

  int run() {
    const bool few = block.batch * bands < block.threads, small = block.height * block.width <= 256;
    const int status = few || small ? by_channels() : by_bands();
    if (means == nullptr || status != kDone) return status;
    for (int64_t i = 0; i < block.batch * block.outputs; ++i) means[i] /= (float)(block.height * block.width);
    return kDone;
  }

  // Each thread takes whole bands, tile by tile.
  int by_bands() {
    const SumOfChunks sums(means, block.batch, bands, block.outputs);
    if (sums.failed()) return kNoMemory;
    int status = kDone;
    parallel(block.threads, block.batch * bands, flops_like(), [&](int64_t task) {
      const int64_t image = task / bands, top = task % bands * rows;
      Band<Grid, T> band{block, stages, grid, size, image, top, smaller(rows, height - top), nullptr};
      const int64_t strip = band.strip_channels() * size, inner = block.channels * kTile, deep = band.depth() * kTile;
      const Scratch scratch(strip + inner + deep + block.outputs * kLanes);
      if (scratch.failed()) {
        __atomic_store_n(&status, kNoMemory, __ATOMIC_RELAXED);
        return;
      }
      band.strip = scratch.data();
      float *z = band.strip + strip, *t = z + inner, *totals = t + deep;
      if (means) __builtin_memset(totals, 0, block.outputs * kLanes * sizeof(float));
      for (int64_t c = 0; c < band.strip_channels(); ++c) band.fill_channel(c, x, maps, gate);
      const Blocks ours(band.members()), outs(block.outputs);
      for (int64_t tile = 0; tile < band.tiles(); ++tile) {
        for (int64_t g = 0; g < block.groups; ++g)
          for (int64_t k = 0; k < ours.count; ++k) band.first(tile, g, k, z);
        for (int64_t m = 0; m < band.members(); ++m) band.second(tile, m, z, t);
        const auto to = band.where(tile);
        for (int64_t k = 0; k < outs.count; ++k)
          band.third(to, k, t, y, means ? totals + outs.begin(k) * kLanes : nullptr);
      }
      if (float* row = sums.row(image, task % bands))
        for (int64_t o = 0; o < block.outputs; ++o) row[o] = sum<kLanes>(load<kLanes>(totals + o * kLanes));
    });
    sums.join();
    return status;
  }

  // Small maps: each thread takes channels of all images, stage by stage, so that a weight is read once.
  int by_channels() {
    bands = 1;
    rows = height;
    size = channel_size(grid, rows);
    Band<Grid, T> band{block, stages, grid, size, 0, 0, rows, nullptr};
    const int64_t tiles = band.tiles(), depth = band.depth();
    const int64_t strip = band.strip_channels() * size, inner = tiles * block.channels * kTile, deep = tiles * depth * kTile;
    const int64_t each = strip + inner + deep, group = larger(1, smaller(block.batch, kWhole / each));
    const Scratch scratch(group * each);
    if (scratch.failed()) return kNoMemory;
    for (int64_t from = 0; from < block.batch; from += group) {
      const int64_t images = smaller(group, block.batch - from), work = flops_like() * images / block.batch;
      const auto at = [&](int64_t i) {
        Band<Grid, T> here = band;
        here.image = from + i;
        here.strip = scratch.data() + i * each;
        return here;
      };
      const auto z = [&](int64_t i) { return scratch.data() + i * each + strip; };
      const auto t = [&](int64_t i) { return z(i) + inner; };
      parallel(block.threads, band.strip_channels(), work, [&](int64_t c) {
        for (int64_t i = 0; i < images; ++i) at(i).fill_channel(c, x, maps, gate);
      });
      const Blocks ours(band.members()), outs(block.outputs);
      parallel(block.threads, block.groups * ours.count, work, [&](int64_t k) {
        for (int64_t i = 0; i < images; ++i)
          for (int64_t tile = 0; tile < tiles; ++tile)
            at(i).first(tile, k / ours.count, k % ours.count, z(i) + tile * block.channels * kTile);
      });
      parallel(block.threads, band.members(), work, [&](int64_t m) {
        for (int64_t i = 0; i < images; ++i)
          for (int64_t tile = 0; tile < tiles; ++tile)
            at(i).second(tile, m, z(i) + tile * block.channels * kTile, t(i) + tile * depth * kTile);
      });
      parallel(block.threads, outs.count, work, [&](int64_t k) {
        float totals[kBlock * kLanes];
        for (int64_t i = 0; i < images; ++i) {
          __builtin_memset(totals, 0, sizeof totals);
          for (int64_t tile = 0; tile < tiles; ++tile)
            at(i).third(band.where(tile), k, t(i) + tile * depth * kTile, y, means ? totals : nullptr);
          if (means == nullptr) continue;
          float* row = means + (from + i) * block.outputs + outs.begin(k);
          for (int64_t o = 0; o < outs.extent(k); ++o) row[o] = sum<kLanes>(load<kLanes>(totals + o * kLanes));
        }
      });
    }
    return kDone;
  }
};

}  // namespace ATTNZOO_ISA
}  // namespace attnzoo

using namespace attnzoo::ATTNZOO_ISA;

// x (batch, given, height, width), maps (batch, maps, height, width) or null, gate (batch, given) or null: x is multiplied
// by it. y (batch, outputs, height, width), or half of both if pooled; means (batch, outputs) of what was not yet pooled,
// or null: height and width must be even if there is both. stages: three; weights are (channels, channels / groups, 3, 3),
// (channels, groups), (outputs, channels or twice as many).
ATTNZOO_EXPORT(igc_block)(const AttnzooIgc* block, const AttnzooStage* stages, const void* x, const void* maps,
                          const float* gate, void* y, float* means) {
  const Affine affine(stages, *block);
  if (affine.failed()) return kNoMemory;
  return with_storage(block->dtype, [&](auto type) {
    using T = typename decltype(type)::Type;
    if (block->pool)
      return Run<Windows, T>(*block, affine.stages, (const T*)x, (const T*)maps, gate, (T*)y, means).run();
    return Run<Rows, T>(*block, affine.stages, (const T*)x, (const T*)maps, gate, (T*)y, means).run();
  });
}
