#include "sweep/stopping_rules.hpp"

namespace dormer::sweep::stopping {

StoppingKind none() {
  return [](const StoppingInputs&) { return std::make_unique<RunglessRule>(); };
}

}  // namespace dormer::sweep::stopping
