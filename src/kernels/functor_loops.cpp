#include <type_traits>

#include "dormer/kernels/elements.hpp"
#include "dormer/kernels/kernels.hpp"
#include "dormer/kernels/team_rows.hpp"

namespace dormer::kernels {
namespace {

/// As many lanes as the launches give a row.
constexpr int kWarp = 32;

class FunctorLoops final : public ComputedBy<FunctorLoops> {
 public:
  template <typename Arguments>
  void compute(const Arguments& arguments, std::int64_t count) const {
    for (std::int64_t item = 0; item < count; ++item) {
      if constexpr (ElementOperation<Arguments>) {
        compute_element(arguments, item);
      } else if constexpr (std::is_same_v<Arguments, SquaredBlocksArguments>) {
        compute_row(arguments, item, SimulatedTeam<SquaredBlocksArguments::kLanes>());
      } else {
        compute_row(arguments, item, SimulatedTeam<kWarp>());
      }
    }
  }
};

}  // namespace

std::unique_ptr<Kernels> functor_loops() {
  return std::make_unique<FunctorLoops>();
}

}  // namespace dormer::kernels
