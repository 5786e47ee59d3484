#pragma once

#include "dormer/config/tree.hpp"
#include "sweep/mistakes.hpp"

namespace dormer::sweep {

/// Rewrites what stands under `sweep` in the words of W&B's sweep files (parameters, metric: {name, goal},
/// early_terminate, run_cap) into ours, where it means the same; what has no equal here is a mistake that names it.
/// Lines stay.
void translate_wandb(config::Node& sweep, Mistakes& mistakes);

}  // namespace dormer::sweep
