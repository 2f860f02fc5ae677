// Threads that go through several stages together, each of which needs what the one before has made.
#pragma once

#include <omp.h>
#include <sched.h>

#include "kernel.h"

namespace attnzoo {
namespace ATTNZOO_ISA {

constexpr int kPatience = 1 << 14;  // looks before a waiting thread lets others run

// The stages are too short to put a thread to sleep and to wake it again, as the barrier of OpenMP may do.
class Meeting {
 public:
  void wait(int threads) {
    const int round = __atomic_load_n(&round_, __ATOMIC_ACQUIRE);
    if (__atomic_add_fetch(&arrived_, 1, __ATOMIC_ACQ_REL) == threads) {
      __atomic_store_n(&arrived_, 0, __ATOMIC_RELAXED);
      __atomic_store_n(&round_, round + 1, __ATOMIC_RELEASE);
      return;
    }
    for (int looks = 0; __atomic_load_n(&round_, __ATOMIC_ACQUIRE) == round; ++looks) {
#if defined(__x86_64__)
      __builtin_ia32_pause();
#endif
      if (looks >= kPatience) sched_yield();
    }
  }

 private:
  alignas(64) int arrived_ = 0;
  int round_ = 0;
};

// One thread's part.
struct Step {
  int thread, threads;
  Meeting* meeting;
  // Calls task for this thread's share of `count`, and waits for the others.
  template <class Task> void share(int64_t count, Task task) const {
    for (int64_t i = count * thread / threads, end = count * (thread + 1) / threads; i < end; ++i) task(i);
    if (threads > 1) meeting->wait(threads);
  }
};

template <class Work> inline void in_step(int threads, Work work) {
  if (threads == 1) return work(Step{0, 1, nullptr});
  Meeting meeting;
#pragma omp parallel num_threads(threads)
  work(Step{omp_get_thread_num(), omp_get_num_threads(), &meeting});
}

}  // namespace ATTNZOO_ISA
}  // namespace attnzoo
