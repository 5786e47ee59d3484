#include "dormer/kernels/vector_level.hpp"

namespace dormer::kernels {

VectorLevel best_vector_level() {
#if defined(__x86_64__) && defined(__GNUC__)
  static const VectorLevel level = __builtin_cpu_supports("avx512bf16") != 0 ? VectorLevel::kAvx512Pairs
                                   : __builtin_cpu_supports("avx512f") != 0  ? VectorLevel::kAvx512
                                   : __builtin_cpu_supports("avx2") != 0     ? VectorLevel::kAvx2
                                                                             : VectorLevel::kBase;
  return level;
#else
  return VectorLevel::kBase;
#endif
}

}  // namespace dormer::kernels
