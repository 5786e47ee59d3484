#include "cuda/launches.hpp"

#include <string_view>

#include <c10/cuda/CUDAStream.h>

#include "cuda/cuda_status.hpp"
#include "cuda/launch.hpp"

namespace dormer::cuda {
namespace {

/// The arguments' type stands in the compiler's name of this function.
template <typename Arguments>
std::string_view name_of_launch() {
  return __PRETTY_FUNCTION__;
}

class Launches final : public kernels::ComputedBy<Launches> {
 public:
  template <typename Arguments>
  void compute(const Arguments& arguments, std::int64_t count) const {
    if (count > 0) {
      check(launch(arguments, count, c10::cuda::getCurrentCUDAStream().stream()), name_of_launch<Arguments>());
    }
  }
};

}  // namespace

const kernels::Kernels& launches() {
  static const Launches kLaunches;
  return kLaunches;
}

}  // namespace dormer::cuda
