#pragma once

#include <filesystem>
#include <optional>
#include <string>

namespace dormer::model {

/// The folder that holds config.json for what a person writes as model.path: a folder, a hub cache entry
/// (models--org--name, whose newest snapshot counts), or org/name found offline in the hub cache (HF_HUB_CACHE,
/// HF_HOME/hub, ~/.cache/huggingface/hub). Throws an input error that names what was looked for and where.
[[nodiscard]] std::filesystem::path resolve_model_folder(const std::filesystem::path& path);
/// The same, also for a folder of diffusers (model_index.json) with a model in each of its parts.
[[nodiscard]] std::filesystem::path resolve_model_or_pipeline(const std::filesystem::path& path);

/// Whether a folder is one of diffusers, with a folder for each part.
[[nodiscard]] bool is_pipeline(const std::filesystem::path& folder);
/// The part of such a folder that is the denoiser: "unet" or "transformer".
[[nodiscard]] std::string denoiser_part(const std::filesystem::path& folder);

/// The hub id ("org/name") of a resolved folder, if its place or its config.json's _name_or_path tells; never a path.
[[nodiscard]] std::optional<std::string> hub_id_of(const std::filesystem::path& folder);

}  // namespace dormer::model
