#pragma once

#include <filesystem>
#include <memory>

#include "dormer/model/autoencoder.hpp"
#include "dormer/model/language_model.hpp"

namespace dormer::model {

/// Loads a folder of diffusers' AutoencoderKL (Kingma & Welling 2014 as in Rombach et al. 2022), with the attention's
/// newer or older names.
[[nodiscard]] std::unique_ptr<Autoencoder> load_autoencoder_kl(const std::filesystem::path& folder,
                                                               const Placement& placement);

}  // namespace dormer::model
