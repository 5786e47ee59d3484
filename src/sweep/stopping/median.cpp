#include <algorithm>

#include "dormer/sweep/stopping.hpp"

namespace dormer::sweep::stopping {
namespace {

constexpr std::size_t kStart = 4;  // the first ones all go on: a median of fewer says little

/// Stops a point that is worse than the median of those that came to this rung before it (Golovin et al. 2017, "Google
/// Vizier", section 3.2, at a rung's step in place of running averages).
class MedianRung final : public Rung {
 public:
  [[nodiscard]] std::vector<Judgement> arrive(const Arrival& arrival) override {
    if (!arrival.value) {
      return {{arrival.point, false}};
    }
    const bool goes_on = before_.size() < kStart || *arrival.value <= before_[before_.size() / 2];
    before_.insert(std::ranges::upper_bound(before_, *arrival.value), *arrival.value);
    return {{arrival.point, goes_on}};
  }
  [[nodiscard]] std::vector<Judgement> close() override { return {}; }

 private:
  std::vector<double> before_;  ///< ascending
};

class Median final : public StoppingRule {
 public:
  explicit Median(const StoppingInputs& inputs) : inputs_(inputs) {}
  /// At every multiple of the first rung.
  [[nodiscard]] std::vector<std::int64_t> rungs(std::int64_t total) const override {
    std::vector<std::int64_t> rungs;
    for (std::int64_t step = inputs_.minimum_steps; step < total; step += inputs_.minimum_steps) {
      rungs.push_back(step);
    }
    return rungs;
  }
  [[nodiscard]] std::unique_ptr<Rung> rung() const override { return std::make_unique<MedianRung>(); }

 private:
  StoppingInputs inputs_;
};

}  // namespace

StoppingKind median() {
  return [](const StoppingInputs& inputs) { return std::make_unique<Median>(inputs); };
}

}  // namespace dormer::sweep::stopping
