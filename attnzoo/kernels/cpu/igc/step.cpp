// The forward passes of CEDNN's block in training: each writes its convolution's output and the moments of that.
#include "step.h"

namespace attnzoo {
namespace ATTNZOO_ISA {

// kept[i] = the largest of the four pixels of a 2x2 window after multiplication by `sign`.
template <int N>
ATTNZOO_HOT void choose(const float* top, const float* bottom, float sign, int64_t windows, float* kept) {
  if constexpr (N > 1) {
    if (windows < N) return choose<N / 2>(top, bottom, sign, windows, kept);
  }
  for (int64_t i = 0; i < windows; i += N) {
    const int64_t k = smaller(i, windows - N);  // the last step overlaps the one before
    F<N> corners[4];
    split<N>(load<N>(top + 2 * k) * sign, load<N>(top + 2 * k + N) * sign, corners[0], corners[1]);
    split<N>(load<N>(bottom + 2 * k) * sign, load<N>(bottom + 2 * k + N) * sign, corners[2], corners[3]);
    store<N>(kept + k, larger<N>(larger<N>(corners[0], corners[1]), larger<N>(corners[2], corners[3])) * sign);
  }
}

}  // namespace ATTNZOO_ISA
}  // namespace attnzoo

using namespace attnzoo::ATTNZOO_ISA;

// a (batch, channels, height, width) = grouped 3x3 convolution of x; moments (2, channels) of it.
ATTNZOO_EXPORT(igc_step_first)(const AttnzooIgcStep* step) {
  const float *x = step->x, *weight = step->weight;
  float* a = step->a;
  double* moments = step->moments;
  const Bands bands(*step);
  const Parts<Moment> parts(step->batch * bands.bands, step->channels);
  if (parts.failed()) return kNoMemory;
  const int64_t members = bands.members, area = step->height * step->width, strips = members * bands.size;
  const auto work = [&](int64_t image, int64_t group, int64_t band, float* scratch) {
    const int64_t top = band * bands.rows, rows = smaller(bands.rows, step->height - top);
    const float* from = x + (image * step->channels + group * members) * area;
    for (int64_t c = 0; c < members; ++c) {
      fill(bands.grid, scratch + c * bands.size, bands.size, step->width, top, rows, [&](int64_t y) {
        const bool there = y >= 0 && y < step->height;
        return Row<float>{there ? from + c * area + y * step->width : nullptr, nullptr, 1, 0};
      });
    }
    float* made = scratch + strips;
    bands.convolve(weight + group * members * members * 9, scratch, rows, made);
    for (int64_t c = 0; c < members; ++c) {
      const int64_t channel = group * members + c;
      float* to = a + (image * step->channels + channel) * area + top * step->width;
      for (int64_t r = 0; r < rows; ++r)
        __builtin_memcpy(to + r * step->width, made + c * bands.made() + r * bands.grid.stride,
                         step->width * sizeof(float));
      parts.row(image * bands.bands + band)[channel] = moment(to, rows * step->width);
    }
  };
  const int status = each_band(*step, bands, strips + members * bands.made(), work);
  join_moments(parts, step->channels, moments);
  return status;
}

// b = 1x1 convolution of relu(norm(a)) across the groups; affine (2, channels): the norm's scale and shift.
ATTNZOO_EXPORT(igc_step_second)(const AttnzooIgcStep* step) {
  const float *a = step->a, *affine = step->affine, *weight = step->weight;
  float* b = step->b;
  double* moments = step->moments;
  const int64_t channels = step->channels, groups = step->groups, members = channels / groups;
  const Tiles tiles(*step, 2 * channels);
  const Parts<Moment> parts(step->batch * tiles.parts, channels);
  if (parts.failed()) return kNoMemory;
  const int64_t apart = tiles.apart();
  const auto work = [&](int64_t part, int64_t image, int64_t tile, float* z) {
    const int64_t from = tiles.begin(tile), pixels = tiles.extent(tile);
    float* made = z + channels * apart;
    for (int64_t c = 0; c < channels; ++c)
      activate(a + (image * channels + c) * tiles.pixels + from, affine[c], affine[channels + c], nullptr, pixels,
               apart, z + c * apart);
    for (int64_t m = 0; m < members; ++m)
      product(weight + m * groups * groups, groups, groups, z + m * apart, members * apart, made + m * apart,
              members * apart, pixels);
    for (int64_t c = 0; c < channels; ++c) {
      parts.row(part)[c].join(moment(made + c * apart, pixels));
      __builtin_memcpy(b + (image * channels + c) * tiles.pixels + from, made + c * apart, pixels * sizeof(float));
    }
  };
  const int status = each_tile(*step, tiles, 2 * channels * apart, work);
  join_moments(parts, channels, moments);
  return status;
}

// The 1x1 convolution of relu(norm(b) + x), or of relu of both concatenated. With pooling only the value of each 2x2 window
// that is largest after the norm is kept. signs (outputs): 1, or -1 where the norm's gain is negative. NaN and infinities
// need no special case: they make the moments, and thereby the whole channel, NaN.
ATTNZOO_EXPORT(igc_step_third)(const AttnzooIgcStep* step) {
  const float *b = step->b, *x = step->x, *affine = step->affine, *weight = step->weight, *signs = step->signs;
  float* kept = step->kept;
  double* moments = step->moments;
  const int64_t depth = (step->dense ? 2 : 1) * step->channels, outputs = step->outputs, width = step->width;
  const Tiles tiles(*step, depth + outputs);
  const Parts<Moment> parts(step->batch * tiles.parts, outputs);
  if (parts.failed()) return kNoMemory;
  const int64_t apart = tiles.apart(), area = step->pool ? (step->height / 2) * (width / 2) : tiles.pixels;
  const auto work = [&](int64_t part, int64_t image, int64_t tile, float* t) {
    const int64_t from = tiles.begin(tile), pixels = tiles.extent(tile), rows = pixels / width;
    float* made = t + depth * apart;
    connect(*step, b, x, affine, image, from, pixels, apart, t);
    product(weight, outputs, depth, t, apart, made, apart, pixels);
    for (int64_t o = 0; o < outputs; ++o) {
      const float* row = made + o * apart;
      float* to = kept + (image * outputs + o) * area;
      parts.row(part)[o].join(moment(row, pixels));
      if (!step->pool) {
        __builtin_memcpy(to + from, row, pixels * sizeof(float));
        continue;
      }
      to += from / width / 2 * (width / 2);
      for (int64_t y = 0; y + 1 < rows; y += 2, row += 2 * width, to += width / 2)
        choose<kLanes>(row, row + width, signs[o], width / 2, to);
    }
  };
  const int status = each_tile(*step, tiles, (depth + outputs) * apart, work);
  join_moments(parts, outputs, moments);
  return status;
}

// y = relu(norm(kept)), both (batch, outputs, area).
ATTNZOO_EXPORT(igc_step_last)(const AttnzooIgcStep* step) {
  const int64_t batch = step->batch, outputs = step->outputs, area = step->height * step->width;
  const int threads = step->threads;
  const float *kept = step->kept, *affine = step->affine;
  float* y = step->y;
  parallel(threads, batch * outputs, batch * outputs * area, [&](int64_t plane) {
    const float scale = affine[plane % outputs], shift = affine[outputs + plane % outputs];
    for (int64_t p = 0; p < area; p += kLanes) {
      const int64_t at = plane * area + p, count = area - p;
      store_first(y + at, relu(load_first(kept + at, count) * scale + shift), count);
    }
  });
  return kDone;
}
