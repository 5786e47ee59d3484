#include "dormer/core/error.hpp"
#include "dormer/sweep/sampler.hpp"

namespace dormer::sweep::samplers {
namespace {

/// All combinations, the first axis of the space slowest.
class Grid final : public Sampler {
 public:
  explicit Grid(const SamplerInputs& inputs) : space_(inputs.space), points_(inputs.space.grid_points()) {
    require(points_.has_value(), Fault::kUsage, "a grid takes so many values of a range; write steps: beside it");
  }

  [[nodiscard]] Point propose(std::int64_t number, std::span<const Observation>) const override {
    return space_.grid_point(number);
  }
  [[nodiscard]] std::optional<std::int64_t> points() const override { return points_; }

 private:
  const Space& space_;
  std::optional<std::int64_t> points_;
};

}  // namespace

SamplerKind grid() {
  return [](const SamplerInputs& inputs) { return std::make_unique<Grid>(inputs); };
}

}  // namespace dormer::sweep::samplers
