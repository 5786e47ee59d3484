#include "sweep/stopping_rules.hpp"

namespace dormer::sweep::stopping {

/// Each trial ends by itself, by `validation.patience`.
StoppingKind patience() {
  return [](const StoppingInputs&) { return std::make_unique<RunglessRule>(); };
}

}  // namespace dormer::sweep::stopping
