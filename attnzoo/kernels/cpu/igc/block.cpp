// CEDNN's block in evaluation: grouped 3x3 convolution, grouped 1x1 convolution across the groups, connection, 1x1
// convolution, each with its norm, and optionally 2x2 max pooling. No intermediate map is written to memory. Several blocks,
// each of which reads the output of the one before, are one parallel region: threads are woken once.
#include "record.h"
#include "strip.h"

namespace attnzoo {
namespace ATTNZOO_ISA {

constexpr int64_t kStrip = 1 << 17;       // floats of a strip, to leave room in a core's cache of 1 MB
constexpr int64_t kWhole = 1 << 21;       // floats of the images that are computed together, where threads share channels
constexpr int64_t kSmall = 1024;          // largest number of pixels of a map for which threads may share channels
constexpr int64_t kWeights = 1 << 18;     // floats of weights that no longer stay in a core's cache from band to band
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

// One band of one image: its strip, and the stages' outputs for one tile at a time or for all tiles.
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

// One block of a chain: set up by one thread, computed by all, and finished by one.
struct Link {
  Link* before = nullptr;
  int status = kDone;
  virtual void work(Team& team) = 0;
  virtual void finish() = 0;
  void fail() { __atomic_store_n(&status, kNoMemory, __ATOMIC_RELAXED); }
};

template <class Grid, class T> struct Run final : Link {
  const AttnzooIgc& block;
  const Affine affine;
  const T *x, *maps;
  const float* gate;
  T* y;
  float* means;
  Grid grid;
  int64_t height, bands, rows, size, images;
  bool whole;  // whether threads share the channels of `images` images instead of bands
  const SumOfChunks sums;
  const Scratch shared;

  Run(const AttnzooIgc& block, const AttnzooStage* stages, const AttnzooIgcMaps& given)
      : block(block), affine(stages, block), x((const T*)given.x), maps((const T*)given.maps), gate(given.gate),
        y((T*)given.y), means(given.means), grid(block.width), height(Grid::kPooled ? block.height / 2 : block.height),
        whole(plan()), sums(whole ? nullptr : means, block.batch, bands, block.outputs), shared(whole ? images * each() : 0) {
    if (affine.failed() || sums.failed() || shared.failed()) fail();
  }

  // Sets bands, rows, size and images; returns `whole`.
  bool plan() {
    const int64_t row = (block.maps ? block.channels : block.given) * grid.stride * (Grid::kPooled ? 4 : 1);
    bands = ceil_div(height, larger(1, smaller(kBand, kStrip / row - (Grid::kPooled ? 1 : 2))));
    bands = bands > 2 ? ceil_div(bands, 4) * 4 : 2;  // an even share for two threads, and where there is work for four
    rows = ceil_div(height, smaller(bands, height));
    bands = ceil_div(height, rows);
    const int64_t weights = block.channels * (block.channels / block.groups * 9 + block.groups) +
                            block.outputs * block.channels * (block.dense ? 2 : 1);
    const bool few = block.batch * bands < block.threads, small = block.height * block.width <= kSmall;
    const bool together = few || (small && weights > kWeights);
    if (together) {
      bands = 1;
      rows = height;
    }
    size = channel_size(grid, rows);
    images = larger(1, smaller(block.batch, kWhole / each()));
    return together;
  }

  Band<Grid, T> band(int64_t image, int64_t index, float* strip) const {
    const int64_t top = index * rows;
    return {block, affine.stages, grid, size, image, top, smaller(rows, height - top), strip};
  }
  int64_t strip() const { return (block.maps ? block.channels : block.given) * size; }
  int64_t depth() const { return (block.dense ? 2 : 1) * block.channels; }
  int64_t tiles() const { return ceil_div(rows * grid.stride, Grid::kStep); }
  // Floats of one image if channels are shared: the strip, and the first two convolutions' outputs for all tiles.
  int64_t each() const { return strip() + tiles() * (block.channels + depth()) * kTile; }

  void work(Team& team) override {
    if (whole) {
      by_channels(team);
    } else {
      by_bands(team);
    }
  }

  void finish() override {
    if (means == nullptr) return;
    sums.join();
    for (int64_t i = 0; i < block.batch * block.outputs; ++i) means[i] /= (float)(block.height * block.width);
  }

  // Each thread takes whole bands, tile by tile.
  void by_bands(Team& team) {
    const int64_t inner = block.channels * kTile, deep = depth() * kTile;
    const Scratch scratch(strip() + inner + deep + block.outputs * kLanes);
    if (scratch.failed()) fail();
    float *z = scratch.data() + strip(), *t = z + inner, *totals = t + deep;
    team.step(block.batch * bands, [&](int64_t task) {
      if (scratch.failed()) return;
      const auto here = band(task / bands, task % bands, scratch.data());
      if (means) __builtin_memset(totals, 0, block.outputs * kLanes * sizeof(float));
      for (int64_t c = 0; c < here.strip_channels(); ++c) here.fill_channel(c, x, maps, gate);
      const Blocks ours(here.members()), outs(block.outputs);
      for (int64_t tile = 0; tile < here.tiles(); ++tile) {
        for (int64_t g = 0; g < block.groups; ++g)
          for (int64_t k = 0; k < ours.count; ++k) here.first(tile, g, k, z);
        for (int64_t m = 0; m < here.members(); ++m) here.second(tile, m, z, t);
        const auto to = here.where(tile);
        for (int64_t k = 0; k < outs.count; ++k)
          here.third(to, k, t, y, means ? totals + outs.begin(k) * kLanes : nullptr);
      }
      if (float* row = sums.row(here.image, task % bands))
        for (int64_t o = 0; o < block.outputs; ++o) row[o] = sum<kLanes>(load<kLanes>(totals + o * kLanes));
    });
  }

  // Small maps: each thread takes channels of all images, stage by stage, so that a weight is read once.
  void by_channels(Team& team) {
    const int64_t count = tiles(), inner = count * block.channels * kTile;
    const Blocks ours(block.channels / block.groups), outs(block.outputs);
    for (int64_t from = 0; from < block.batch; from += images) {
      const int64_t until = smaller(images, block.batch - from);
      const auto at = [&](int64_t i) { return band(from + i, 0, shared.data() + i * each()); };
      const auto z = [&](int64_t i, int64_t tile) {
        return shared.data() + i * each() + strip() + tile * block.channels * kTile;
      };
      const auto t = [&](int64_t i, int64_t tile) { return z(i, 0) + inner + tile * depth() * kTile; };
      team.step(block.maps ? block.channels : block.given, [&](int64_t c) {
        for (int64_t i = 0; i < until; ++i) at(i).fill_channel(c, x, maps, gate);
      });
      team.step(block.groups * ours.count, [&](int64_t k) {
        for (int64_t i = 0; i < until; ++i)
          for (int64_t tile = 0; tile < count; ++tile) at(i).first(tile, k / ours.count, k % ours.count, z(i, tile));
      });
      team.step(block.channels / block.groups, [&](int64_t m) {
        for (int64_t i = 0; i < until; ++i)
          for (int64_t tile = 0; tile < count; ++tile) at(i).second(tile, m, z(i, tile), t(i, tile));
      });
      team.step(outs.count, [&](int64_t k) {
        float totals[kBlock * kLanes];
        for (int64_t i = 0; i < until; ++i) {
          __builtin_memset(totals, 0, sizeof totals);
          for (int64_t tile = 0; tile < count; ++tile)
            at(i).third(at(i).where(tile), k, t(i, tile), y, means ? totals : nullptr);
          if (means == nullptr) continue;
          float* row = means + (from + i) * block.outputs + outs.begin(k);
          for (int64_t o = 0; o < outs.extent(k); ++o) row[o] = sum<kLanes>(load<kLanes>(totals + o * kLanes));
        }
      });
    }
  }
};

inline void work(Link* link, Team& team) {
  if (link == nullptr) return;
  work(link->before, team);
  link->work(team);
}

// Sets up the blocks from `first` on by recursion, each on the stack, and then runs a team through all of them.
template <class T>
int run(const AttnzooIgc* first, const AttnzooIgc* last, const AttnzooStage* stages, const AttnzooIgcMaps* maps,
        int64_t elements, Link* before) {
  if (first != last) {
    elements += first->batch * first->channels * first->height * first->width;
    const auto add = [&](auto&& link) {
      link.before = before;
      if (link.status != kDone) return link.status;
      const int status = run<T>(first + 1, last, stages + 3, maps + 1, elements, &link);
      if (status != kDone) return status;
      if (link.status == kDone) link.finish();
      return link.status;
    };
    return first->pool ? add(Run<Windows, T>(*first, stages, *maps)) : add(Run<Rows, T>(*first, stages, *maps));
  }
  together(last[-1].threads, last[-1].threads, elements, [&](Team& team, int) { work(before, team); });
  return kDone;
}

}  // namespace ATTNZOO_ISA
}  // namespace attnzoo

using namespace attnzoo::ATTNZOO_ISA;

// `count` blocks, each of which reads what the one before writes; stages: three for each. Weights are (channels, channels
// / groups, 3, 3), (channels, groups), (outputs, channels or twice as many).
ATTNZOO_EXPORT(igc_block)(int count, const AttnzooIgc* blocks, const AttnzooStage* stages, const AttnzooIgcMaps* maps) {
  return with_storage(blocks->dtype, [&](auto type) {
    return run<typename decltype(type)::Type>(blocks, blocks + count, stages, maps, 0, nullptr);
  });
}
