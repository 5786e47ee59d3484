#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "dormer/model/text_encoder.hpp"
#include "layer_builder.hpp"

namespace dormer::model {

/// Loads a folder of transformers with CLIP's text model, with or without projection (Radford et al. 2021; OpenCLIP's
/// in the same form). Its sites are called `part`.text_model.….
[[nodiscard]] std::unique_ptr<TextEncoder> load_clip_text(const std::filesystem::path& folder, const std::string& part,
                                                          std::shared_ptr<LayerList> layers,
                                                          const Placement& placement);

}  // namespace dormer::model
