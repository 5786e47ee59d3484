#include "dormer/sweep/sampler.hpp"
#include "sweep/draw.hpp"
#include "sweep/sobol.hpp"

namespace dormer::sweep::samplers {
namespace {

/// A scrambled Sobol sequence: evener than random points in every parameter and every pair of them, and still as good
/// as random where only some parameters matter. Parameters beyond the 64th are random.
class QuasiRandom final : public Sampler {
 public:
  explicit QuasiRandom(const SamplerInputs& inputs) : space_(inputs.space), seed_(inputs.seed) {}

  [[nodiscard]] Point propose(std::int64_t number, std::span<const Observation>) const override {
    const RandomKey point = seed_.child(static_cast<std::uint64_t>(number));
    std::vector<double> coordinates;
    for (const Parameter& parameter : space_.parameters()) {
      const auto dimension = static_cast<std::uint32_t>(coordinates.size());
      double unit = uniform(point.child(parameter.name));
      if (dimension < kSobolDimensions) {  // what is random lies below the 32 bits of the sequence
        const auto index = static_cast<std::uint32_t>(number);
        unit = (scrambled(sobol(dimension, index), seed_.child(parameter.name)) + unit) * 0x1p-32;
      }
      coordinates.push_back(parameter.quantile(unit));
    }
    return space_.at(coordinates);
  }

 private:
  const Space& space_;
  RandomKey seed_;
};

}  // namespace

SamplerKind quasi_random() {
  return [](const SamplerInputs& inputs) { return std::make_unique<QuasiRandom>(inputs); };
}

}  // namespace dormer::sweep::samplers
