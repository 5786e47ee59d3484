#include <algorithm>
#include <set>
#include <utility>

#include "sweep/stopping_rules.hpp"

namespace dormer::sweep::stopping {
namespace {

/// Lets a point go on as soon as it is among the best 1/factor of those that have arrived, without waiting for the
/// others (Li et al. 2018, "A system for massively parallel hyperparameter tuning", algorithm 2).
class AshaRung final : public Rung {
 public:
  explicit AshaRung(std::int64_t factor) : factor_(factor) {}

  [[nodiscard]] std::vector<Judgement> arrive(const Arrival& arrival) override {
    ++arrived_;
    if (!arrival.value) {
      return {{arrival.point, false}};
    }
    waiting_.emplace(*arrival.value, arrival.point);
    std::vector<Judgement> judgements;
    while (!waiting_.empty()) {
      const auto best = *waiting_.begin();
      const auto better = std::ranges::lower_bound(promoted_, best) - promoted_.begin();
      if (better >= arrived_ / factor_) {
        break;
      }
      promoted_.insert(promoted_.begin() + better, best);
      waiting_.erase(waiting_.begin());
      judgements.push_back({best.second, true});
    }
    return judgements;
  }

  [[nodiscard]] std::vector<Judgement> close() override {
    std::vector<Judgement> judgements;
    // Of fewer than `factor` points none was among the best: the best one goes on, or nobody would finish.
    if (promoted_.empty() && !waiting_.empty()) {
      judgements.push_back({waiting_.begin()->second, true});
      waiting_.erase(waiting_.begin());
    }
    for (const auto& [value, point] : waiting_) {
      judgements.push_back({point, false});
    }
    waiting_.clear();
    return judgements;
  }

 private:
  std::int64_t factor_;
  std::int64_t arrived_ = 0;
  std::set<std::pair<double, std::int64_t>> waiting_;
  std::vector<std::pair<double, std::int64_t>> promoted_;  ///< ascending
};

}  // namespace

StoppingKind asha() {
  return [](const StoppingInputs& inputs) { return std::make_unique<GeometricRule<AshaRung>>(inputs); };
}

}  // namespace dormer::sweep::stopping
