#include "dormer/sweep/sampler.hpp"
#include "sweep/draw.hpp"

namespace dormer::sweep::samplers {
namespace {

/// Every parameter by itself: uniform, or uniform in the logarithm.
class Random final : public Sampler {
 public:
  explicit Random(const SamplerInputs& inputs) : space_(inputs.space), seed_(inputs.seed) {}

  [[nodiscard]] Point propose(std::int64_t number, std::span<const Observation>) const override {
    return space_.at(random_coordinates(space_, seed_.child(static_cast<std::uint64_t>(number))));
  }

 private:
  const Space& space_;
  RandomKey seed_;
};

}  // namespace

SamplerKind random() {
  return [](const SamplerInputs& inputs) { return std::make_unique<Random>(inputs); };
}

}  // namespace dormer::sweep::samplers
