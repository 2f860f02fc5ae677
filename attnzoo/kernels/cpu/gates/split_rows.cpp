// Copies of a map that each keep some rows and are zero elsewhere, and the gradient: the sum of the copies' gradients in
// their rows.
#include "../kernel.h"

// keep: (regions, batch, height). whole is the map that is split, or the gradient of it that is filled; parts are one map a
// region: its copies, or their gradients.
struct AttnzooRows {
  AttnzooMap map;
  int64_t height, regions;
  const uint8_t* keep;
  void* whole;
  void* const* parts;
};

namespace attnzoo {
namespace ATTNZOO_ISA {

// The map as rows that lie one after the other: of one channel (NCHW) or of all (channels-last).
struct Rows {
  int64_t height, length, each, count;  // elements a row, rows an image, rows in all
  Rows(const AttnzooMap& map, int64_t height)
      : height(height), length(map.pixels / height * (map.channels_last ? map.channels : 1)),
        each(height * (map.channels_last ? 1 : map.channels)), count(map.batch * each) {}

  // Calls step(row, number, mask) in tasks for rows of one plane that follow each other; mask is where the first of
  // them has its place in a table (batch, height).
  template <class Step> void parts(int threads, Step step) const {
    const Chunks chunks(count, kTask / larger(1, length));
    parallel(threads, chunks.count, count * length, [&](int64_t task) {
      const int64_t last = chunks.begin(task) + chunks.extent(task);
      for (int64_t r = chunks.begin(task), n; r < last; r += n) {
        n = smaller(last - r, height - r % height);
        step(r, n, r / each * height + r % height);
      }
    });
  }
};

template <class T>
int split_rows(const T* x, const uint8_t* keep, int64_t regions, T* const* copies, const Rows rows,
               const AttnzooMap& map) {
  const int64_t length = rows.length, table = map.batch * rows.height;
  rows.parts(map.threads, [=](int64_t row, int64_t number, int64_t mask) {
    for (int64_t region = 0; region < regions; ++region) {
      const uint8_t* kept = keep + region * table + mask;
      for (int64_t r = 0, end; r < number; r = end) {
        for (end = r + 1; end < number && kept[end] == kept[r];) ++end;  // as many rows as go together
        T* to = copies[region] + (row + r) * length;
        const size_t bytes = (end - r) * length * sizeof(T);
        if (kept[r]) {
          __builtin_memcpy(to, x + (row + r) * length, bytes);
        } else {
          __builtin_memset(to, 0, bytes);
        }
      }
    }
  });
  return kDone;
}

template <class T>
int split_rows_backward(const T* const* gradients, const uint8_t* keep, int64_t regions, T* dx, const Rows rows,
                        const AttnzooMap& map) {
  const int64_t length = rows.length, table = map.batch * rows.height;
  rows.parts(map.threads, [=](int64_t row, int64_t number, int64_t mask) {
    const auto kept = [&](int64_t region, int64_t r) { return keep[region * table + mask + r] != 0; };
    for (int64_t r = 0, end; r < number; r = end) {
      const auto alike = [&](int64_t other) {
        for (int64_t region = 0; region < regions; ++region) {
          if (kept(region, other) != kept(region, r)) return false;
        }
        return true;
      };
      for (end = r + 1; end < number && alike(end);) ++end;
      const int64_t from = (row + r) * length, count = (end - r) * length;
      int64_t copies = 0, first = 0;
      for (int64_t region = regions - 1; region >= 0; --region) {
        if (kept(region, r)) ++copies, first = region;
      }
      if (copies == 0) {
        __builtin_memset(dx + from, 0, count * sizeof(T));
      } else if (copies == 1) {
        __builtin_memcpy(dx + from, gradients[first] + from, count * sizeof(T));
      } else {
        with_lanes(count, [&](auto vector) {
          constexpr int N = lanes(decltype(vector){});
          sweep<N>(count, [&](int64_t i, int, auto) {
            F<N> total = load<N>(gradients[first] + from + i);
            for (int64_t region = first + 1; region < regions; ++region) {
              if (kept(region, r)) total += load<N>(gradients[region] + from + i);
            }
            store<N>(dx + from + i, total);
          });
        });
      }
    }
  });
  return kDone;
}

}  // namespace ATTNZOO_ISA
}  // namespace attnzoo

using namespace attnzoo::ATTNZOO_ISA;

ATTNZOO_EXPORT(split_rows)(const AttnzooRows* call) {
  const AttnzooMap& map = call->map;
  return with_storage(map.dtype, [&](auto type) {
    using T = typename decltype(type)::Type;
    return split_rows(type.in(call->whole), call->keep, call->regions, (T* const*)call->parts, Rows(map, call->height), map);
  });
}

ATTNZOO_EXPORT(split_rows_backward)(const AttnzooRows* call) {
  const AttnzooMap& map = call->map;
  return with_storage(map.dtype, [&](auto type) {
    using T = typename decltype(type)::Type;
    return split_rows_backward((const T* const*)call->parts, call->keep, call->regions, type.out(call->whole),
                               Rows(map, call->height), map);
  });
}
