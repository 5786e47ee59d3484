#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "dormer/core/registry.hpp"
#include "dormer/model/language_model.hpp"

namespace dormer::model {

/// One registered family of models.
struct ModelFamily {
  std::string_view doc;
  std::vector<std::string> model_types;  ///< config.json's model_type values that it reads
  /// Loads a folder whose config.json is `config_text`. Throws an input error naming every setting that it does not do.
  std::function<std::unique_ptr<LanguageModel>(const std::filesystem::path& folder, const std::string& config_text,
                                               const Placement& placement)>
      load;
};

/// All families, in the order of the list in src/model/CMakeLists.txt.
[[nodiscard]] Registry<ModelFamily> model_families();

}  // namespace dormer::model
