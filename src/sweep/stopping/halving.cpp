#include <algorithm>
#include <limits>
#include <tuple>

#include "sweep/stopping_rules.hpp"

namespace dormer::sweep::stopping {
namespace {

/// Waits for all, then lets the best of them go on: the verdicts depend on no order of arrival, and so on no number of
/// workers (Jamieson and Talwalkar 2016, "Non-stochastic best arm identification").
class HalvingRung final : public Rung {
 public:
  explicit HalvingRung(std::int64_t factor) : factor_(factor) {}

  [[nodiscard]] std::vector<Judgement> arrive(const Arrival& arrival) override {
    arrivals_.push_back(arrival);
    return {};
  }

  [[nodiscard]] std::vector<Judgement> close() override {
    const auto all = std::ssize(arrivals_);
    const std::int64_t kept = (all + factor_ - 1) / factor_;
    std::ranges::sort(arrivals_, {}, [](const Arrival& arrival) {
      return std::tuple(!arrival.value, arrival.value.value_or(0.0), arrival.point);
    });
    std::vector<Judgement> judgements;
    for (std::int64_t place = 0; place < all; ++place) {
      const Arrival& arrival = arrivals_[static_cast<std::size_t>(place)];
      judgements.push_back({arrival.point, place < kept && arrival.value.has_value()});
    }
    return judgements;
  }

 private:
  std::int64_t factor_;
  std::vector<Arrival> arrivals_;
};

}  // namespace

StoppingKind halving() {
  return [](const StoppingInputs& inputs) { return std::make_unique<GeometricRule<HalvingRung>>(inputs); };
}

}  // namespace dormer::sweep::stopping
