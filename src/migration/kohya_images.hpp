#pragma once

#include "migration/translation.hpp"

namespace dormer::migration {

/// kohya's folders, or the data set's TOML that is named (library/config_util.py), as our groups `data` and `batch`.
void translate_kohya_images(Translation& translation);

}  // namespace dormer::migration
