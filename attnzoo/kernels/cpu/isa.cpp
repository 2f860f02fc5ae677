// Which of the instruction sets that the kernels are compiled for this machine has.
#define ATTNZOO_JOIN(isa) attnzoo_has_##isa
#define ATTNZOO_NAME(isa) ATTNZOO_JOIN(isa)

// Returns 1 if the kernels compiled with the same flags as this function may run. It is called before any of them, so
// nothing here may need what it asks for.
extern "C" __attribute__((visibility("default"))) int ATTNZOO_NAME(ATTNZOO_ISA)() {
#if defined(__AVX512F__)
  __builtin_cpu_init();
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
#elif defined(__AVX2__)
  __builtin_cpu_init();
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
#else
  return 1;
#endif
}
