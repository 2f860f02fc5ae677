// Vectors of floats, and the storage types that they are read from and written to.
//
// Every kernel is compiled once for each instruction set, with ATTNZOO_ISA naming the set. All code lives in a
// namespace of that name and uses no template of the standard library: the linker keeps one copy of a template, and
// a copy compiled for AVX-512 must not serve a machine without it.
#pragma once

#include <cstdint>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace attnzoo {
namespace ATTNZOO_ISA {

#if defined(__AVX512F__)
constexpr int kLanes = 16;
#elif defined(__AVX2__)
constexpr int kLanes = 8;
#else
constexpr int kLanes = 4;
#endif

template <int N> struct Vector {
  typedef float F __attribute__((vector_size(4 * N)));
  typedef int32_t I __attribute__((vector_size(4 * N)));
  typedef uint32_t U __attribute__((vector_size(4 * N)));
  typedef uint16_t H __attribute__((vector_size(2 * N)));
};
template <int N> using F = typename Vector<N>::F;
template <int N> using I = typename Vector<N>::I;

struct BFloat16 { uint16_t bits; };
struct Float16 { uint16_t bits; };

template <class V, class P> inline V raw(const P* p) {
  V v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}

template <int N> inline F<N> load(const float* p) { return raw<F<N>>(p); }

// GCC makes poor code of a conversion between halves and words, so the usual vectors have their instruction named.
template <int N> inline F<N> load(const BFloat16* p) {
  using U = typename Vector<N>::U;
#if defined(__AVX512F__)
  if constexpr (N == 16) return (F<N>)((U)_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)p)) << 16);
#elif defined(__AVX2__)
  if constexpr (N == 8) return (F<N>)((U)_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i*)p)) << 16);
#endif
  return (F<N>)(__builtin_convertvector(raw<typename Vector<N>::H>(p), U) << 16);
}

template <int N> inline void store(float* p, F<N> v) { __builtin_memcpy(p, &v, sizeof v); }

// Where the upper halves of words lie, from the first word to the last.
alignas(64) constexpr uint16_t kUpperHalves[32] = {1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31};

// Rounds to nearest, ties to even; NaN stays NaN (all bits set).
template <int N> inline void store(BFloat16* p, F<N> v) {
  using U = typename Vector<N>::U;
  using H = typename Vector<N>::H;
#if defined(__AVX512F__)
  if constexpr (N == 16) {
    const __m512i words = (__m512i)v, whole = _mm512_set1_epi32(-1);
    const __mmask16 odd = _mm512_test_epi32_mask(words, _mm512_set1_epi32(0x10000));
    const __m512i half = _mm512_mask_blend_epi32(odd, _mm512_set1_epi32(0x7fff), _mm512_set1_epi32(0x8000));
    const __mmask16 number = _mm512_cmp_ps_mask((__m512)v, (__m512)v, _CMP_ORD_Q);
    const __m512i rounded = _mm512_mask_add_epi32(whole, number, words, half);
    const __m512i upper = _mm512_permutexvar_epi16(raw<__m512i>(kUpperHalves), rounded);
    return _mm256_storeu_si256((__m256i*)p, _mm512_castsi512_si256(upper));
  }
#endif
  const U bits = (U)v;
  const U rounded = ((bits + 0x7fff + ((bits >> 16) & 1)) | (U)(v != v)) >> 16;
#if defined(__AVX2__) && !defined(__AVX512F__)
  if constexpr (N == 8) {
    const __m256i words = (__m256i)rounded;
    const __m128i halves = _mm_packus_epi32(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
    return _mm_storeu_si128((__m128i*)p, halves);
  }
#endif
  const H half = __builtin_convertvector(rounded, H);
  __builtin_memcpy(p, &half, sizeof half);
}

// Half precision, one number: by an instruction where there is one, else by the bits, so that no compiler needs a type or a
// library for it. NaN stays NaN, quiet and with the upper bits of what it carries, as instructions have it.
inline float widen(Float16 h) {
#if defined(__F16C__)
  return _cvtsh_ss(h.bits);
#elif defined(__ARM_FP16_FORMAT_IEEE)
  return raw<__fp16>(&h);
#else
  constexpr uint32_t kRebased = (127 - 15) << 23, kLeast = (127 - 14) << 23;  // exponents; 2^-14
  const uint32_t rest = (h.bits & 0x7fffu) << 13, sign = (h.bits & 0x8000u) << 16;
  uint32_t bits = rest + kRebased;
  if (rest >= 0x7c00u << 13) bits += kRebased + (rest > 0x7c00u << 13 ? (0x200u << 13) & ~rest : 0);
  if (rest < 0x400u << 13) {
    const uint32_t above = rest + kLeast;
    const float tiny = raw<float>(&above) - raw<float>(&kLeast);
    bits = raw<uint32_t>(&tiny);
  }
  bits |= sign;
  return raw<float>(&bits);
#endif
}

// Rounds to nearest, ties to even.
inline Float16 narrow(float v) {
#if defined(__F16C__)
  return {(uint16_t)_cvtss_sh(v, 0)};
#elif defined(__ARM_FP16_FORMAT_IEEE)
  const __fp16 half = v;
  return raw<Float16>(&half);
#else
  constexpr uint32_t kRebased = (127 - 15) << 23, kLeast = (127 - 14) << 23, kBeyond = (127 + 16) << 23;
  const uint32_t bits = raw<uint32_t>(&v), rest = bits & 0x7fffffff;
  uint32_t half = (rest - kRebased + 0xfff + (rest >> 13 & 1)) >> 13;
  if (rest < kLeast) {
    const float rounded = raw<float>(&rest) + .5f;  // the last bit of 0.5 is the least that a half can tell
    half = raw<uint32_t>(&rounded) - (126u << 23);
  }
  if (rest >= kBeyond) half = rest > 0x7f800000 ? 0x7e00 | (rest >> 13 & 0x3ff) : 0x7c00;
  return {(uint16_t)(half | (bits >> 16 & 0x8000))};
#endif
}

template <int N> inline F<N> load(const Float16* p) {
  F<N> v;
#if defined(__AVX512F__)
  if constexpr (N == 16) return (F<N>)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i*)p));
#elif defined(__AVX2__)
  if constexpr (N == 8) return (F<N>)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)p));
#endif
  for (int i = 0; i < N; ++i) v[i] = widen(p[i]);
  return v;
}

template <int N> inline void store(Float16* p, F<N> v) {
#if defined(__AVX512F__)
  if constexpr (N == 16) return _mm256_storeu_si256((__m256i*)p, _mm512_cvtps_ph((__m512)v, 0));
#elif defined(__AVX2__)
  if constexpr (N == 8) return _mm_storeu_si128((__m128i*)p, _mm256_cvtps_ph((__m256)v, 0));
#endif
  for (int i = 0; i < N; ++i) p[i] = narrow(v[i]);
}

// A difference, because GCC sees that it is the value itself: a sum would be made, for the sake of -0.
template <int N> inline F<N> all(float value) { return value - F<N>{}; }

// b where a or b is NaN: what maxps does in one instruction.
template <int N> inline F<N> larger(F<N> a, F<N> b) { return a > b ? a : b; }

template <int N> inline F<N> where(I<N> mask, F<N> v) { return (F<N>)(mask & (I<N>)v); }

// Sums in double precision, lane by lane. GCC makes poor code of a conversion to twice as many registers, so halves are
// converted.
template <int N> struct Doubles {
  static constexpr int kHalf = N == 1 ? 1 : N / 2, kParts = N / kHalf;
  typedef double D __attribute__((vector_size(8 * kHalf)));
  D parts[kParts] = {};
  void add(F<N> v) {
    for (int k = 0; k < kParts; ++k) {
      F<kHalf> part;
      __builtin_memcpy(&part, (const char*)&v + k * sizeof part, sizeof part);
      parts[k] += __builtin_convertvector(part, D);
    }
  }
  F<N> rounded() const {
    F<N> v;
    for (int k = 0; k < kParts; ++k) {
      const F<kHalf> part = __builtin_convertvector(parts[k], F<kHalf>);
      __builtin_memcpy((char*)&v + k * sizeof part, &part, sizeof part);
    }
    return v;
  }
};

struct Sum { template <class V> V operator()(V a, V b) const { return a + b; } };
struct Largest { template <class V> V operator()(V a, V b) const { return a > b ? a : b; } };

// All lanes combined by join.
template <int N, class Join> inline float joined(F<N> v, Join join) {
  if constexpr (N == 1) {
    return v[0];
  } else {
    F<N / 2> low, high;
    __builtin_memcpy(&low, &v, sizeof low);
    __builtin_memcpy(&high, (const char*)&v + sizeof low, sizeof high);
    return joined<N / 2>(join(low, high), join);
  }
}
template <int N> inline float sum(F<N> v) { return joined<N>(v, Sum{}); }
template <int N> inline float largest(F<N> v) { return joined<N>(v, Largest{}); }

// The lanes of a and b that `from` numbers, those of b from N on.
template <int N> inline F<N> picked(F<N> a, F<N> b, I<N> from) {
#if defined(__clang__)
  F<N> v;
  for (int i = 0; i < N; ++i) v[i] = from[i] < N ? a[from[i]] : b[from[i] - N];
  return v;
#else
  return __builtin_shuffle(a, b, from);
#endif
}

// Every other W lanes of a and of b, in turn: from the first on, or from the W-th.
template <int N, int W> inline F<N> every_other(F<N> a, F<N> b, bool second) {
  I<N> from = {};
  for (int i = 0; i < N; ++i) from[i] = i / (2 * W) * 2 * W + i % W + (second ? W : 0) + (i / W % 2 ? N : 0);
  return picked<N>(a, b, from);
}

// The lanes of R vectors, joined until R lanes in turn belong to the R vectors.
template <int N, int R, class Join> inline F<N> fold(const F<N>* vectors, Join join) {
  if constexpr (R == 1) {
    return *vectors;
  } else {
    const F<N> a = fold<N, R / 2>(vectors, join), b = fold<N, R / 2>(vectors + R / 2, join);
    return join(every_other<N, R / 2>(a, b, false), every_other<N, R / 2>(a, b, true));
  }
}

// Lane i of the result is all lanes of vectors[i] combined by join. R is 1 or N: N vectors together take little longer than
// a few separately.
template <int N, int R, class Join> inline F<R> across(const F<N>* vectors, Join join) {
  if constexpr (R == 1) {
    return F<1>{joined<N>(*vectors, join)};
  } else {
    return fold<N, R>(vectors, join);
  }
}

// e^x to about one unit in the last place (Cephes' polynomial); infinite from 88.4 on, never 0.
template <int N> inline F<N> exponential(F<N> x) {
  constexpr float kRound = 12582912;  // 1.5 * 2^23: adding it leaves no room for a fraction
  F<N> bounded = x > 89.f ? all<N>(89) : x;
  bounded = bounded < -87.f ? all<N>(-87) : bounded;
  const F<N> power = (bounded * 1.44269504f + kRound) - kRound;
  const F<N> rest = bounded - power * 0.693359375f + power * 2.12194440e-4f;
  F<N> series = rest * 1.9875691500e-4f + 1.3981999507e-3f;
  series = series * rest + 8.3334519073e-3f;
  series = series * rest + 4.1665795894e-2f;
  series = series * rest + 1.6666665459e-1f;
  series = series * rest + 5.0000001201e-1f;
  series = series * rest * rest + rest + 1.f;
  return series * (F<N>)((__builtin_convertvector(power, I<N>) + 127) << 23);
}

// Which lanes of a step are new. The last step of a sweep overlaps the one before it, so that no partial vector is
// ever read or written: harmless for a maximum or a store, masked for a sum.
struct AllNew {
  template <class V> V operator()(V v) const { return v; }
};
template <int N> struct SomeNew {
  I<N> mask;
  F<N> operator()(F<N> v) const { return (F<N>)(mask & (I<N>)v); }
  I<N> operator()(I<N> v) const { return mask & v; }
};

alignas(64) constexpr int32_t kLastLanes[32] = {0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,
                                               -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1};

// The last `count` of N lanes.
template <int N> inline SomeNew<N> last_lanes(int64_t count) {
  return {raw<I<N>>(kLastLanes + 16 - N + count)};
}

// Calls step(index, slot, fresh) for vectors that cover [from, n); needs n >= N or N == 1. `slot` runs through
// [0, Slots), for as many independent accumulators.
template <int N, int Slots = 1, class Step> inline void sweep(int64_t n, Step step, int64_t from = 0) {
  int64_t i = from;
  for (; i + Slots * N <= n; i += Slots * N) {
#pragma GCC unroll 8
    for (int slot = 0; slot < Slots; ++slot) step(i + slot * N, slot, AllNew{});
  }
  for (; i + N <= n; i += N) step(i, 0, AllNew{});
  if (i < n) step(n - N, 0, last_lanes<N>(n - i));
}

}  // namespace ATTNZOO_ISA
}  // namespace attnzoo
