#include "dormer/core/error.hpp"
#include "dormer/sweep/stopping.hpp"

namespace dormer::sweep::stopping {
namespace {

/// Each trial ends by itself, by `validation.patience`: nobody waits for a verdict.
class Patience final : public StoppingRule {
 public:
  [[nodiscard]] std::vector<std::int64_t> rungs(std::int64_t) const override { return {}; }
  [[nodiscard]] std::unique_ptr<Rung> rung() const override { fail(Fault::kBug, "a rung of a rule without any"); }
};

}  // namespace

StoppingKind patience() {
  return [](const StoppingInputs&) { return std::make_unique<Patience>(); };
}

}  // namespace dormer::sweep::stopping
