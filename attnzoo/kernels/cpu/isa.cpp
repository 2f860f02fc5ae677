// Functions that tell whether this machine has the instruction sets that the kernels are compiled for.
#if defined(__AVX2__)
#include <cpuid.h>
#endif

#define ATTNZOO_JOIN(isa) attnzoo_has_##isa
#define ATTNZOO_NAME(isa) ATTNZOO_JOIN(isa)

// Returns 1 if kernels compiled with the same flags may run on this machine. It is called before any of them, so it must
// not use instructions of the set that it tests.
extern "C" __attribute__((visibility("default"))) int ATTNZOO_NAME(ATTNZOO_ISA)() {
#if defined(__AVX512F__)
  __builtin_cpu_init();
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
#elif defined(__AVX2__)
  __builtin_cpu_init();
  unsigned a, b, features = 0, d;  // clang's builtin knows no name for the conversions of half precision
  return __get_cpuid(1, &a, &b, &features, &d) && (features & bit_F16C) && __builtin_cpu_supports("avx2") &&
         __builtin_cpu_supports("fma");
#else
  return 1;
#endif
}
