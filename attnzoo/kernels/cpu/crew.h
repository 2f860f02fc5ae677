// Threads that are woken once for any number of steps.
#pragma once

#include "kernel.h"

namespace attnzoo {
namespace ATTNZOO_ISA {

// As Team, but every step ends by waiting for all, so that three counters of what is taken are enough: that of a step,
// that of the one before, where somebody may still look, and that of the next one, which is set to zero meanwhile.
class Crew {
 public:
  struct Shared {
    int64_t arrived = 0, taken[3] = {};
  };
  Crew(int size, Shared* shared) : size_(size), shared_(shared) {}

  // Calls task for this thread's share of [0, tasks), and returns when all threads are done with theirs.
  template <class Task> void each(int64_t tasks, Task task) {
    int64_t* taken = shared_->taken + step_ % 3;
    __atomic_store_n(shared_->taken + (step_ + 1) % 3, 0, __ATOMIC_RELAXED);
    const int64_t grain = larger(1, tasks / (kShares * size_));
    for (;;) {
      const int64_t begin = __atomic_fetch_add(taken, grain, __ATOMIC_RELAXED);
      if (begin >= tasks) break;
      for (int64_t i = begin; i < smaller(begin + grain, tasks); ++i) task(i);
    }
    ++step_;
    wait();
  }

 private:
  static constexpr int kLooks = 1000, kShares = 16;

  void wait() {
    const int64_t all = step_ * size_;
    __atomic_add_fetch(&shared_->arrived, 1, __ATOMIC_ACQ_REL);
    for (int looks = 0; __atomic_load_n(&shared_->arrived, __ATOMIC_ACQUIRE) < all; ++looks) {
      if (looks > kLooks) sched_yield();
    }
  }

  int size_;
  int64_t step_ = 0;
  Shared* shared_;
};

template <class Body> inline void together(int threads, int64_t elements, Body body) {
  Crew::Shared shared;
  if (threads == 1 || elements < kTask) return body(Crew(1, &shared));
#pragma omp parallel num_threads(threads)
  body(Crew(omp_get_num_threads(), &shared));
}

}  // namespace ATTNZOO_ISA
}  // namespace attnzoo
