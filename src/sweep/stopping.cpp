#include "sweep/stopping_rules.hpp"

namespace dormer::sweep {

std::vector<std::int64_t> geometric_rungs(const StoppingInputs& inputs, std::int64_t total) {
  std::vector<std::int64_t> rungs;
  for (std::int64_t step = inputs.minimum_steps; step < total; step *= inputs.factor) {
    rungs.push_back(step);
    if (step > total / inputs.factor) {
      break;
    }
  }
  return rungs;
}

}  // namespace dormer::sweep
