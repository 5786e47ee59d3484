#pragma once

#include <memory>
#include <vector>

#include "dormer/core/error.hpp"
#include "dormer/sweep/stopping.hpp"

namespace dormer::sweep {

/// minimum, minimum * factor, minimum * factor^2, … below `total`.
[[nodiscard]] std::vector<std::int64_t> geometric_rungs(const StoppingInputs& inputs, std::int64_t total);

/// A rule with rungs in equal ratios, of whose points one of `factor` goes on. `RungKind` is made from the factor.
template <typename RungKind>
class GeometricRule final : public StoppingRule {
 public:
  explicit GeometricRule(const StoppingInputs& inputs) : inputs_(inputs) {}
  [[nodiscard]] std::vector<std::int64_t> rungs(std::int64_t total) const override {
    return geometric_rungs(inputs_, total);
  }
  [[nodiscard]] std::unique_ptr<Rung> rung() const override { return std::make_unique<RungKind>(inputs_.factor); }
  [[nodiscard]] std::int64_t most_going_on(std::int64_t points) const override {
    return (points + inputs_.factor - 1) / inputs_.factor;
  }

 private:
  StoppingInputs inputs_;
};

/// A rule without rungs: nobody waits for a verdict.
class RunglessRule final : public StoppingRule {
 public:
  [[nodiscard]] std::vector<std::int64_t> rungs(std::int64_t) const override { return {}; }
  [[nodiscard]] std::unique_ptr<Rung> rung() const override { fail(Fault::kBug, "a rung of a rule without any"); }
};

}  // namespace dormer::sweep
