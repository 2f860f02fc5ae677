// Shared by all kernels: the map's geometry, its division into tasks, thread teams, the choice of storage type.
#pragma once

#include <omp.h>
#include <sched.h>

#include <cstdint>
#include <cstdlib>

#include "simd.h"

#define ATTNZOO_JOIN(a, b, c) attnzoo_##a##_##b
#define ATTNZOO_NAME(op, isa) ATTNZOO_JOIN(op, isa, )
// The C name of a kernel: attnzoo_<op>_<instruction set>.
#define ATTNZOO_EXPORT(op) extern "C" __attribute__((visibility("default"))) int ATTNZOO_NAME(op, ATTNZOO_ISA)

// For a loop over a row: inlines everything that it calls, through all templates.
#define ATTNZOO_HOT __attribute__((flatten)) inline

// A map (batch, channels, pixels), stored channel by channel (NCHW) or pixel by pixel (channels-last).
struct AttnzooMap {
  int64_t batch, channels, pixels;
  int32_t channels_last, dtype, threads;
};

namespace attnzoo {
namespace ATTNZOO_ISA {

enum Status { kDone = 0, kUnknownType = 1, kNoMemory = 2, kUnknownSize = 3, kUnfit = 4 };

constexpr float kLowest = -__builtin_inff();
constexpr int64_t kTask = 32768;  // elements of a task, at least, to be worth a thread; 128 KB in fp32, fits in L2

constexpr int64_t kRun = 4096;    // pixels of each channel in a task; few enough for their sums to stay in L2
constexpr int64_t kChain = 64;    // numbers added one after the other; longer sums add such partial sums

constexpr int kChannels = kLanes == 16 ? 4 : 2;  // channels of NCHW processed together, so that values shared by all channels
                                                // are loaded once; limited by the number of registers

inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
inline int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// [0, length) divided into `count` chunks of about the wanted size. The division does not depend on the number of
// threads, so that sums do not either.
struct Chunks {
  int64_t length, size, count;
  Chunks(int64_t length, int64_t wanted) : length(length) {
    const int64_t cuts = larger(1, ceil_div(length, larger(1, wanted)));
    size = larger(1, ceil_div(ceil_div(length, cuts), kLanes) * kLanes);
    count = ceil_div(length, size);
  }
  int64_t begin(int64_t chunk) const { return chunk * size; }
  int64_t extent(int64_t chunk) const { return smaller(size, length - chunk * size); }
};

// The division of a channels-last map's pixels into tasks.
inline Chunks pixel_chunks(int64_t pixels, int64_t channels) {
  return Chunks(pixels, larger(kChain, smaller(kTask / channels, 8 * kChain)));
}

constexpr int64_t kLine = 64;  // bytes of a cache line; aligned memory has each vector in one line

class Scratch {
 public:
  explicit Scratch(int64_t floats)
      : data_(floats == 0 ? nullptr : (float*)aligned_alloc(kLine, ceil_div(floats * sizeof(float), kLine) * kLine)),
        floats_(floats) {}
  ~Scratch() { free(data_); }
  Scratch(const Scratch&) = delete;
  bool failed() const { return floats_ != 0 && data_ == nullptr; }
  float* data() const { return data_; }

 private:
  float* data_;
  int64_t floats_;
};

// A sum (batch, length) over several chunks of each batch item: each chunk writes a separate row, and `join` adds the rows
// in order. With one chunk the row is the result itself.
class SumOfChunks {
 public:
  SumOfChunks(float* result, int64_t batch, int64_t chunks, int64_t length)
      : result_(result), batch_(batch), chunks_(chunks), length_(length),
        rows_(result == nullptr || chunks == 1 ? 0 : batch * chunks * length) {}
  bool failed() const { return rows_.failed(); }
  float* row(int64_t item, int64_t chunk) const {
    if (result_ == nullptr) return nullptr;
    return (chunks_ == 1 ? result_ : rows_.data()) + (item * chunks_ + chunk) * length_;
  }
  void join() const {
    if (result_ == nullptr || chunks_ == 1) return;
    for (int64_t b = 0; b < batch_; ++b) {
      for (int64_t i = 0; i < length_; ++i) {
        double total = 0;
        for (int64_t k = 0; k < chunks_; ++k) total += row(b, k)[i];
        result_[b * length_ + i] = (float)total;
      }
    }
  }

 private:
  float* result_;
  int64_t batch_, chunks_, length_;
  Scratch rows_;
};

// A team of threads that goes through several steps together. Waking a thread takes as long as a small map's whole layer:
// so threads that are awake begin, late threads take the remaining tasks, and no thread sleeps before the last step is done.
// Each thread has a separate Team object and calls the same steps in the same order; Shared holds the progress.
// Thread k begins with part k of a step, as torch's loops divide a tensor, so that it finds in its cache the data that it
// used in the previous step or operation. Threads that have finished their part take tasks of the other parts.
class Team {
  static constexpr int kLooks = 1000, kShares = 16, kSteps = 8, kParts = 16;

 public:
  // Counters for every kSteps-th step, as round << 32 | number: shares taken of a part; shares done of all parts. The last
  // task of a round advances the round of `done`; the first thread that comes to a part advances that of `taken`.
  struct alignas(kLine) Part {
    uint64_t taken[kSteps] = {};
  };
  struct Shared {
    Part parts[kParts];
    uint64_t done[kSteps] = {};
    void* memory[kSteps];
    int left = 0;
  };
  Team(int size, int thread, Shared* shared)
      : size_(size), parts_((int)smaller(size, kParts)), part_(thread % parts_), shared_(shared) {}
  // Calls task(i) for this thread's share of [0, tasks); from the end of each part if `back`, which begins with the data
  // that was used last.
  template <class Task> void each(int64_t tasks, bool back, Task task) {
    const int64_t grain = size_ == 1 ? tasks : larger(1, tasks / (kShares * size_));
    const int64_t shares = tasks == 0 ? 0 : ceil_div(tasks, grain);
    int64_t finished = 0, share;
    if (tasks == 0) return;
    ++step_;
    for (int k = 0; k < parts_; ++k) {
      const int part = (part_ + k) % parts_;
      const int64_t first = shares * part / parts_, last = shares * (part + 1) / parts_;
      while ((share = take(part, last - first)) >= 0) {
        const int64_t from = (back ? last - 1 - share : first + share) * grain, end = smaller(from + grain, tasks);
        for (int64_t i = from; i < end; ++i) task(back ? from + end - 1 - i : i);
        ++finished;
      }
    }
    if (finished > 0) report(finished, shares);
  }
  // Waits until all tasks of the last step are done, by any thread.
  void wait() const {
    if (step_ >= 0) watch([&] { return round_of(__atomic_load_n(&done(), __ATOMIC_ACQUIRE)) > round(); });
  }
  // Runs a step and waits for it.
  template <class Task> void step(int64_t tasks, Task task, bool back = false) {
    each(tasks, back, task);
    wait();
  }
  // A pointer shared by the threads, one of which sets it; each thread must call this equally often.
  void*& next_memory() { return shared_->memory[memories_++ % kSteps]; }
  // The first thread waits for the others by polling, so that it need not be woken.
  void leave(bool first) const {
    if (!first) {
      __atomic_add_fetch(&shared_->left, 1, __ATOMIC_RELEASE);
    } else {
      watch([&] { return __atomic_load_n(&shared_->left, __ATOMIC_ACQUIRE) == size_ - 1; });
    }
  }

 private:
  template <class Done> static void watch(Done done) {
    for (int looks = 0; !done(); ++looks) {
      if (looks > kLooks) sched_yield();
    }
  }
  static uint64_t round_of(uint64_t word) { return word >> 32; }
  uint64_t round() const { return (uint64_t)step_ / kSteps; }
  uint64_t& done() const { return shared_->done[step_ % kSteps]; }
  // The next share of a part in this step, or -1 if none is left.
  int64_t take(int part, int64_t shares) const {
    uint64_t& taken = shared_->parts[part].taken[step_ % kSteps];
    uint64_t word = __atomic_load_n(&taken, __ATOMIC_ACQUIRE), next;
    do {
      if (round_of(word) > round()) return -1;
      if (round_of(word) < round()) {
        watch([&] { return round_of(__atomic_load_n(&done(), __ATOMIC_ACQUIRE)) >= round(); });
        next = round() << 32;
      } else {
        next = word;
      }
      if ((int64_t)(uint32_t)next >= shares) return -1;
    } while (!__atomic_compare_exchange_n(&taken, &word, next + 1, true, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE));
    return (uint32_t)next;
  }
  void report(int64_t finished, int64_t shares) const {
    const uint64_t word = __atomic_add_fetch(&done(), (uint64_t)finished, __ATOMIC_ACQ_REL);
    if ((int64_t)(uint32_t)word == shares) __atomic_store_n(&done(), (round() + 1) << 32, __ATOMIC_RELEASE);
  }

  int size_, parts_, part_;
  int64_t step_ = -1, memories_ = 0;
  Shared* shared_;
};

// The team of this thread, if the kernel runs inside one, else null.
inline Team*& current_team() {
  static thread_local Team* team = nullptr;
  return team;
}

// Calls task(i) for all i of [0, tasks). Inside a team this is a step, which all its threads must call; else it starts
// threads, if there are enough elements. `back`: a single thread, or each thread of a team, begins at the end of its part.
template <class Task>
inline void parallel(int threads, int64_t tasks, int64_t elements, Task task, bool back = false) {
  Team* team = threads == 1 ? nullptr : current_team();
  if (team) return team->step(tasks, task, back);
  if (threads == 1 || tasks == 1 || elements < kTask) {
    for (int64_t i = 0; i < tasks; ++i) task(back ? tasks - 1 - i : i);
    return;
  }
#pragma omp parallel for schedule(static) num_threads(threads)
  for (int64_t i = 0; i < tasks; ++i) task(i);
}

// Temporary memory of a kernel, shared by all threads of a team, which must construct it together.
class SharedScratch {
 public:
  SharedScratch(int threads, int64_t floats) : team_(threads == 1 ? nullptr : current_team()) {
    const auto allocate = [&] {
      const int64_t lines = ceil_div(floats * (int64_t)sizeof(float), kLine);
      return floats == 0 ? nullptr : aligned_alloc(kLine, lines * kLine);
    };
    if (team_ == nullptr) {
      data_ = (float*)allocate();
    } else {
      void*& shared = team_->next_memory();
      team_->step(1, [&](int64_t) { shared = allocate(); });
      data_ = (float*)shared;
    }
    failed_ = floats != 0 && data_ == nullptr;
  }
  ~SharedScratch() {
    if (team_ == nullptr) {
      free(data_);
    } else {
      team_->step(1, [&](int64_t) { free(data_); });  // all steps that use it are done
    }
  }
  SharedScratch(const SharedScratch&) = delete;
  bool failed() const { return failed_; }
  float* data() const { return data_; }

 private:
  Team* team_;
  float* data_;
  bool failed_;
};

template <class Body> inline void together(int threads, int64_t tasks, int64_t elements, Body body) {
  Team::Shared shared;
  Team alone(1, 0, &shared);
  if (threads == 1 || tasks <= 1 || elements < kTask) return body(alone, 0);
#pragma omp parallel num_threads((int)smaller(threads, tasks))
  {
    Team team(omp_get_num_threads(), omp_get_thread_num(), &shared);
    current_team() = &team;
    body(team, omp_get_thread_num());
    current_team() = nullptr;
    team.leave(omp_get_thread_num() == 0);
  }
}

template <class T> struct Storage {
  using Type = T;
  static const T* in(const void* p) { return (const T*)p; }
  static T* out(void* p) { return (T*)p; }
};

// Calls kernel with the storage type for `dtype`.
template <class Kernel> inline int with_storage(int dtype, Kernel kernel) {
  switch (dtype) {
    case 0: return kernel(Storage<float>{});
    case 1: return kernel(Storage<BFloat16>{});
    case 2: return kernel(Storage<Float16>{});
    default: return kUnknownType;
  }
}

// Calls kernel with full vectors if `length` holds one, else with vectors of one lane.
template <class Kernel> inline void with_lanes(int64_t length, Kernel kernel) {
  if (length >= kLanes) {
    kernel(Vector<kLanes>{});
  } else {
    kernel(Vector<1>{});
  }
}
template <int N> constexpr int lanes(Vector<N>) { return N; }

template <class T> inline float one(const T* p) { return load<1>(p)[0]; }

// The maximum as torch's amax defines it: NaN if any value is NaN. `value(i)` returns the i-th of n values. Needed only if
// the sum is NaN, as it is if any value is (and for infinities of both signs).
template <class Value> inline float largest_or_nan(int64_t n, Value value) {
  float high = kLowest;
  for (int64_t i = 0; i < n; ++i) {
    const float v = value(i);
    if (v != v) return v;
    high = v > high ? v : high;
  }
  return high;
}

}  // namespace ATTNZOO_ISA
}  // namespace attnzoo
