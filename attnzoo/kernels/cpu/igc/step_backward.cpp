// The backward passes of CEDNN's block in training. The gradient of a convolution's output a, which a norm follows, is
//   da = slope * g + offset + pull * (a - mean)
// with g the gradient of the norm's output; the last two terms are the gradients through the batch's mean and variance. Each
// pass computes da from g and a while reading them, takes it back through the convolution and the ReLU before it, and sums
// up what the next norm's terms need.
#include "step_weights.h"

namespace attnzoo {
namespace ATTNZOO_ISA {

// The terms of one channel, of rows (4, channels): slope, offset, pull, mean.
struct Terms {
  float slope, offset, pull, mean;
  Terms(const float* all, int64_t channels, int64_t c)
      : slope(all[c]), offset(all[channels + c]), pull(all[2 * channels + c]), mean(all[3 * channels + c]) {}
  template <int N> F<N> at(F<N> g, F<N> a) const { return g * slope + (a - mean) * pull + offset; }
};

// A row of da for a strip.
struct Gradient {
  const float *x, *a;  // g and a; `x` is what a strip calls its source
  Terms terms;
  template <int N> F<N> at(int64_t column) const { return terms.at<N>(load<N>(x + column), load<N>(a + column)); }
};

template <int N> inline F<N> behind_relu(F<N> g, F<N> y) { return y <= 0.f ? F<N>{} : g; }

// d (apart) = da of a tile, zeros behind it.
ATTNZOO_HOT void differentiate(const float* g, const float* a, const Terms& terms, int64_t pixels, int64_t apart,
                               float* d) {
  for (int64_t p = 0; p < pixels; p += kLanes) {
    const int64_t count = pixels - p;
    store<kLanes>(d + p, first_lanes(terms.at<kLanes>(load_first(g + p, count), load_first(a + p, count)), count));
  }
  for (int64_t p = ceil_div(pixels, kLanes) * kLanes; p < apart; p += kLanes) store<kLanes>(d + p, V{});
}

// to = d where z is positive, of a tile; adds to sums[0] and sums[channels] that, and that times (a - mean).
ATTNZOO_HOT void pass_back(const float* d, const float* z, const float* a, float mean, int64_t pixels, float* to,
                           double* sums, int64_t channels) {
  V total = {}, moment = {};
  for (int64_t p = 0; p < pixels; p += kLanes) {
    const int64_t count = pixels - p;
    const V g = first_lanes(behind_relu<kLanes>(load<kLanes>(d + p), load<kLanes>(z + p)), count);
    store_first(to + p, g, count);
    if (a == nullptr) continue;
    total += g;
    moment += g * (load_first(a + p, count) - mean);
  }
  if (a == nullptr) return;
  sums[0] += sum<kLanes>(total);
  sums[channels] += sum<kLanes>(moment);
}

// The constants of one output channel.
struct Output {
  Terms terms;
  float scale, shift, sign;
  template <int N> F<N> g(F<N> dy, F<N> a) const { return behind_relu<N>(dy, a * scale + shift); }
};

// row = da of what it holds, in place; dy may be null where nothing of it is kept.
ATTNZOO_HOT void make_gradient(const Output& output, const float* dy, int64_t pixels, float* row) {
  for (int64_t p = 0; p < pixels; p += kLanes) {
    const int64_t count = pixels - p;
    const V a = load_first(row + p, count), g = dy ? output.g<kLanes>(load_first(dy + p, count), a) : V{};
    store_first(row + p, output.terms.at<kLanes>(g, a), count);
  }
}

// The same for the windows of two rows, from the i-th on: dy belongs to the one of four that was chosen.
template <int N>
ATTNZOO_HOT void make_window_gradient(const Output& output, const float* dy, int64_t i, int64_t windows, float* top,
                                      float* bottom) {
  for (; i + N <= windows; i += N) {
    F<N> corners[4], made[4];
    split<N>(load<N>(top + 2 * i), load<N>(top + 2 * i + N), corners[0], corners[1]);
    split<N>(load<N>(bottom + 2 * i), load<N>(bottom + 2 * i + N), corners[2], corners[3]);
    F<N> keys[4];
    for (int j = 0; j < 4; ++j) keys[j] = corners[j] * output.sign;
    const F<N> best = larger<N>(larger<N>(keys[0], keys[1]), larger<N>(keys[2], keys[3]));
    const F<N> g = output.g<N>(load<N>(dy + i), best * output.sign);
    I<N> open = ~I<N>{};  // windows whose chosen pixel was not found yet
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) {
      const I<N> chosen = (I<N>)(keys[j] == best) & open;
      open &= ~chosen;
      made[j] = output.terms.at<N>(where<N>(chosen, g), corners[j]);
    }
    weave<N>(made[0], made[1], top + 2 * i);
    weave<N>(made[2], made[3], bottom + 2 * i);
  }
  if constexpr (N > 1) make_window_gradient<N / 2>(output, dy, i, windows, top, bottom);
}

}  // namespace ATTNZOO_ISA
}  // namespace attnzoo

using namespace attnzoo::ATTNZOO_ISA;

// sums (2, outputs): of g, and of g times (kept - mean), where g is dy where the ReLU is positive. Maps are (batch, outputs,
// area).
ATTNZOO_EXPORT(igc_step_last_backward)(const AttnzooIgcStep* step) {
  const int64_t batch = step->batch, outputs = step->outputs, area = step->height * step->width;
  const int threads = step->threads;
  const float *dy = step->dy, *kept = step->kept, *affine = step->affine, *means = step->means;
  double* sums = step->sums;
  const Parts<double> parts(batch, 2 * outputs);
  if (parts.failed()) return kNoMemory;
  parallel(threads, batch * outputs, batch * outputs * area, [&](int64_t plane) {
    const int64_t o = plane % outputs;
    const float scale = affine[o], shift = affine[outputs + o], mean = means[o];
    double* to = parts.row(plane / outputs) + o;
    for (int64_t from = 0; from < area; from += kTilePixels) {
      V total = {}, moment = {};
      for (int64_t p = from; p < smaller(from + kTilePixels, area); p += kLanes) {
        const int64_t at = plane * area + p, count = area - p;
        const V a = load_first(kept + at, count), g = behind_relu<kLanes>(load_first(dy + at, count), a * scale + shift);
        total += g;
        moment += g * (a - mean);
      }
      to[0] += sum<kLanes>(total);
      to[outputs] += sum<kLanes>(moment);
    }
  });
  parts.join(sums, threads);
  return kDone;
}

// Through the third convolution. affine, weight, signs, b, x: as in the forward pass; transposed: the weight; third (2,
// outputs): its norm's scale and shift; terms (4, outputs); means (channels) of b. dt (batch, depth, height, width), the
// gradient of what the ReLU in front reads; sums (2, channels) of it for the second norm; d_weight (depth, outputs).
ATTNZOO_EXPORT(igc_step_third_backward)(const AttnzooIgcStep* step) {
  const float *dy = step->dy, *b = step->b, *x = step->x, *affine = step->affine, *weight = step->weight,
      *transposed = step->transposed, *signs = step->signs, *third = step->third, *terms = step->terms,
      *means = step->means;
  float *dt = step->dt, *d_weight = step->d_weight;
  double* sums = step->sums;
  const int64_t channels = step->channels, depth = (step->dense ? 2 : 1) * channels, outputs = step->outputs;
  const int64_t width = step->width, windows = width / 2;
  const Tiles tiles(*step, 2 * (depth + outputs));
  const Parts<double> parts(step->batch * tiles.parts, 2 * channels);
  const Parts<float> weights(step->batch * tiles.parts, outputs * depth);
  if (parts.failed() || weights.failed()) return kNoMemory;
  const int64_t apart = tiles.apart(), area = step->pool ? (step->height / 2) * windows : tiles.pixels;
  const auto work = [&](int64_t part, int64_t image, int64_t tile, float* t) {
    const int64_t from = tiles.begin(tile), pixels = tiles.extent(tile), rows = pixels / width;
    float *d = t + depth * apart, *made = d + outputs * apart, *panels = made + depth * apart;
    connect(*step, b, x, affine, image, from, pixels, apart, t);
    product(weight, outputs, depth, t, apart, d, apart, pixels);
    for (int64_t o = 0; o < outputs; ++o) {
      const Output output{Terms(terms, outputs, o), third[o], third[outputs + o], signs[o]};
      const float* g = dy + (image * outputs + o) * area;
      float* row = d + o * apart;
      if (!step->pool) {
        make_gradient(output, g + from, pixels, row);
        continue;
      }
      g += from / width / 2 * windows;
      int64_t y = 0;
      for (; y + 1 < rows; y += 2, row += 2 * width, g += windows) {
        make_window_gradient<kLanes>(output, g, 0, windows, row, row + width);
        if (width % 2 == 0) continue;
        make_gradient(output, nullptr, 1, row + width - 1);
        make_gradient(output, nullptr, 1, row + 2 * width - 1);
      }
      if (y < rows) make_gradient(output, nullptr, width, row);
    }
    product(transposed, depth, outputs, d, apart, made, apart, pixels);
    transpose_rows(d, apart, outputs, pixels, panels);
    add_panels(t, apart, depth, panels, outputs, pixels, weights.row(part));
    for (int64_t c = 0; c < depth; ++c) {
      const float* own = c < channels ? b + (image * channels + c) * tiles.pixels + from : nullptr;
      pass_back(made + c * apart, t + c * apart, own, own ? means[c] : 0, pixels,
                dt + (image * depth + c) * tiles.pixels + from, parts.row(part) + c, channels);
    }
  };
  const int status = each_tile(*step, tiles, 2 * depth * apart + outputs * apart + panels_size(outputs, apart), work);
  parts.join(sums, step->threads);
  weights.join(d_weight, step->threads);
  return status;
}

// Through the second convolution. dt: the gradient of its norm's output, `depth` channels an image of which the first are
// meant; terms (4, channels); affine (2, channels) and means: of the first norm. dz: the gradient of that norm's output;
// sums (2, channels) of it; d_weight (channels, groups).
ATTNZOO_EXPORT(igc_step_second_backward)(const AttnzooIgcStep* step) {
  const float *dt = step->dt, *b = step->b, *terms = step->terms, *a = step->a, *affine = step->affine,
      *means = step->means, *transposed = step->transposed;
  float *dz = step->dz, *d_weight = step->d_weight;
  double* sums = step->sums;
  const int64_t channels = step->channels, groups = step->groups, members = channels / groups;
  const int64_t depth = (step->dense ? 2 : 1) * channels;
  const Tiles tiles(*step, 3 * channels);
  const Parts<double> parts(step->batch * tiles.parts, 2 * channels);
  const Parts<float> weights(step->batch * tiles.parts, channels * groups);
  if (parts.failed() || weights.failed()) return kNoMemory;
  const int64_t apart = tiles.apart();
  const auto work = [&](int64_t part, int64_t image, int64_t tile, float* z) {
    const int64_t from = tiles.begin(tile), pixels = tiles.extent(tile);
    float *d = z + channels * apart, *made = d + channels * apart;
    for (int64_t c = 0; c < channels; ++c) {
      const int64_t at = (image * channels + c) * tiles.pixels + from;
      activate(a + at, affine[c], affine[channels + c], nullptr, pixels, apart, z + c * apart);
      differentiate(dt + (image * depth + c) * tiles.pixels + from, b + at, Terms(terms, channels, c), pixels, apart,
                    d + c * apart);
    }
    for (int64_t m = 0; m < members; ++m) {
      const int64_t at = m * groups * groups, first = m * apart, next = members * apart;
      product(transposed + at, groups, groups, d + first, next, made + first, next, pixels);
      add_products(d + first, next, groups, z + first, next, groups, pixels, weights.row(part) + at);
    }
    for (int64_t c = 0; c < channels; ++c) {
      const int64_t at = (image * channels + c) * tiles.pixels + from;
      pass_back(made + c * apart, z + c * apart, a + at, means[c], pixels, dz + at, parts.row(part) + c, channels);
    }
  };
  const int status = each_tile(*step, tiles, 3 * channels * apart, work);
  parts.join(sums, step->threads);
  weights.join(d_weight, step->threads);
  return status;
}

// Through the first convolution. dz: the gradient of its norm's output; terms (4, channels); flipped (channels, members,
// 3, 3): the weight, turned round and transposed within its group. dx, unless it is null, is what comes through plus the
// last channels of dt. d_weight (channels, members, 3, 3).
ATTNZOO_EXPORT(igc_step_first_backward)(const AttnzooIgcStep* step) {
  const float *dz = step->dz, *a = step->a, *terms = step->terms, *x = step->x, *flipped = step->flipped,
      *dt = step->dt;
  float *dx = step->dx, *d_weight = step->d_weight;
  const Bands bands(*step);
  const int64_t channels = step->channels, members = bands.members, area = step->height * step->width;
  const Parts<float> weights(step->batch * bands.bands, channels * members * 9);
  if (weights.failed()) return kNoMemory;
  const int64_t strips = members * bands.size, depth = (step->dense ? 2 : 1) * channels, width = step->width;
  const auto work = [&](int64_t image, int64_t group, int64_t band, float* scratch) {
    const int64_t top = band * bands.rows, rows = smaller(bands.rows, step->height - top), first = group * members;
    float *d = scratch, *in = d + strips, *made = in + strips;
    for (int64_t c = 0; c < members; ++c) {
      const int64_t from = (image * channels + first + c) * area;
      const Terms own(terms, channels, first + c);
      fill(bands.grid, d + c * bands.size, bands.size, width, top, rows, [&](int64_t y) {
        const bool there = y >= 0 && y < step->height;
        return Gradient{there ? dz + from + y * width : nullptr, a + from + y * width, own};
      });
      fill(bands.grid, in + c * bands.size, bands.size, width, top, rows, [&](int64_t y) {
        const bool there = y >= 0 && y < step->height;
        return Row<float>{there ? x + from + y * width : nullptr, nullptr, 1, 0};
      });
    }
    float* to = weights.row(image * bands.bands + band) + first * members * 9;
    for (int64_t o = 0; o < members; o += kKernels) {
      for (int64_t c = 0; c < members; ++c) {
        const auto add = [&](auto count) {
          add_kernels<decltype(count)::value>(d + o * bands.size, bands.size, in + c * bands.size, bands.grid.stride,
                                              rows, to + (o * members + c) * 9, members * 9);
        };
        if (members - o >= kKernels) {
          add(Count<kKernels>{});
        } else {
          with_side(members - o, add);
        }
      }
    }
    if (dx == nullptr) return;
    bands.convolve(flipped + first * members * 9, d, rows, made);
    for (int64_t c = 0; c < members; ++c) {
      const int64_t channel = first + c, from = top * width;
      float* out = dx + (image * channels + channel) * area + from;
      const float* share = dt + (image * depth + depth - channels + channel) * area + from;
      for (int64_t r = 0; r < rows; ++r) {
        const float* row = made + c * bands.made() + r * bands.grid.stride;
        for (int64_t p = 0; p < width; p += kLanes) {
          const int64_t count = width - p;
          store_first(out + r * width + p, load_first(row + p, count) + load_first(share + r * width + p, count), count);
        }
      }
    }
  };
  const int status = each_band(*step, bands, 2 * strips + members * bands.made(), work);
  weights.join(d_weight, step->threads);
  return status;
}
