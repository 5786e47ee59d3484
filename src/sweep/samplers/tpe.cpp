#include <algorithm>
#include <cmath>

#include "dormer/sweep/sampler.hpp"
#include "sweep/draw.hpp"
#include "sweep/parzen.hpp"

namespace dormer::sweep::samplers {
namespace {

constexpr std::size_t kStartup = 10;  // points that are random before anything is learned
constexpr std::size_t kMostGood = 25;
constexpr std::uint64_t kCandidates = 24;

/// The tree-structured Parzen estimator (Bergstra et al. 2011), each parameter by itself, with the settings of Optuna's
/// TPESampler: of candidates drawn where good points lie, the one where good points are densest beside the others.
class Tpe final : public Sampler {
 public:
  explicit Tpe(const SamplerInputs& inputs) : space_(inputs.space), seed_(inputs.seed) {}

  [[nodiscard]] bool learns() const override { return true; }

  [[nodiscard]] Point propose(std::int64_t number, std::span<const Observation> seen) const override {
    const RandomKey point = seed_.child(static_cast<std::uint64_t>(number));
    const std::vector<const Observation*> known = measured(seen);
    std::vector<double> coordinates = random_coordinates(space_, point);
    if (known.size() < kStartup) {
      return space_.at(coordinates);
    }
    const std::vector<bool> good = best_of(known);
    for (std::size_t index = 0; index < coordinates.size(); ++index) {
      coordinates[index] = choose(index, known, good, point.child(space_.parameters()[index].name));
    }
    return space_.at(coordinates);
  }

 private:
  [[nodiscard]] static std::vector<const Observation*> measured(std::span<const Observation> seen) {
    std::vector<const Observation*> result;
    for (const Observation& observation : seen) {
      if (observation.value && !std::isnan(*observation.value)) {
        result.push_back(&observation);
      }
    }
    return result;
  }

  /// Marks a tenth of them, the best: those that went furthest, and of these the lowest values.
  [[nodiscard]] static std::vector<bool> best_of(const std::vector<const Observation*>& known) {
    std::vector<std::size_t> order(known.size());
    for (std::size_t index = 0; index < order.size(); ++index) {
      order[index] = index;
    }
    std::ranges::stable_sort(order, {},
                             [&](std::size_t index) { return std::pair(-known[index]->steps, *known[index]->value); });
    std::vector<bool> good(known.size(), false);
    const std::size_t count = std::min((known.size() + 9) / 10, kMostGood);
    for (std::size_t index = 0; index < count; ++index) {
      good[order[index]] = true;
    }
    return good;
  }

  [[nodiscard]] double choose(std::size_t index, const std::vector<const Observation*>& known,
                              const std::vector<bool>& good, RandomKey key) const {
    std::vector<double> lower;
    std::vector<double> upper;
    for (std::size_t each = 0; each < known.size(); ++each) {
      if (const std::optional<double> coordinate = space_.coordinate(index, known[each]->point)) {
        (good[each] ? lower : upper).push_back(*coordinate);
      }
    }
    const ParzenEstimator dense(space_.parameters()[index], lower);
    const ParzenEstimator others(space_.parameters()[index], upper);
    std::optional<double> best;
    double best_ratio = 0.0;
    for (std::uint64_t candidate = 0; candidate < kCandidates; ++candidate) {
      const double coordinate = dense.sample(key.child(candidate));
      const double ratio = dense.log_density(coordinate) - others.log_density(coordinate);
      if (!best || ratio > best_ratio) {
        best = coordinate;
        best_ratio = ratio;
      }
    }
    return *best;
  }

  const Space& space_;
  RandomKey seed_;
};

}  // namespace

SamplerKind tpe() {
  return [](const SamplerInputs& inputs) { return std::make_unique<Tpe>(inputs); };
}

}  // namespace dormer::sweep::samplers
