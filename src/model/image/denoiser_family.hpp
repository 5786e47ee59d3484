#pragma once

#include <functional>
#include <memory>
#include <string_view>

#include "dormer/core/registry.hpp"
#include "dormer/model/denoiser.hpp"
#include "layer_builder.hpp"
#include "model/config_fields.hpp"

namespace dormer::model {

/// One registered family of denoisers.
struct DenoiserFamily {
  std::string_view doc;
  std::string_view class_name;  ///< config.json's _class_name, diffusers' name
  std::string_view part;        ///< the folder that holds it, with which its sites' names begin: "unet"
  /// Reads config.json (`where` names it) and loads the weights by `builder`. Throws an input error naming every
  /// setting that it does not do.
  std::function<std::unique_ptr<Denoiser>(ConfigFields& fields, std::string_view where,
                                          const std::function<LayerBuilder()>& builder)>
      load;
};

/// All families, in the order of the list in src/model/CMakeLists.txt.
[[nodiscard]] Registry<DenoiserFamily> denoiser_families();

}  // namespace dormer::model
