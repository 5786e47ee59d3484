#pragma once

#include "migration/translation.hpp"

namespace dormer::migration {

/// OneTrainer's concepts, buckets and masks (modules/util/config/ConceptConfig.py) as our group `data`. Concepts may
/// stand in a file of their own, which is read.
void translate_onetrainer_images(Translation& translation);

}  // namespace dormer::migration
