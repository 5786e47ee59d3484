#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "dormer/core/heartbeat.hpp"
#include "dormer/model/image_model.hpp"
#include "dormer/objective/denoise.hpp"
#include "train/encoded_parts.hpp"
#include "train/placement.hpp"
#include "train/startup.hpp"

namespace dormer::train {

/// The images of a run, and what frozen parts made of them.
struct PreparedImages {
  std::filesystem::path folder;  ///< of the model
  std::optional<ImagePlan> plan;
  EncodedParts encoded;
  std::vector<data::ClipTokenizer> tokenizers;
  std::unique_ptr<cache::ArrayStore> store;
};

/// Reads the concepts' images and plans how they are drawn; rank 0 names those that are left out. All ranks call;
/// errors are those of all.
[[nodiscard]] PreparedImages read_images(comm::Communicator& communicator, const RunConfig& config,
                                         const NumericChoice& numerics);

/// Every text that a run reads, once each: captions, prompts of its pictures and what those are led away from. Usage
/// error where captions are too many to be listed.
[[nodiscard]] std::vector<std::string> texts_of(const RunConfig& config, const ImagePlan& plan);

/// Brings the cache up to what the plan can draw (`encode_missing`). Throws on all ranks that it is to be started again
/// where one is asked to stop. `progress` is called on the way.
void encode_images(comm::Communicator& communicator, const PreparedImages& images, const Placement& placement,
                   const std::function<void()>& progress, EncodedShare share = EncodedShare::kAll);

/// The run's objective, with the model's prediction where that is auto. Usage errors where it does not go with the
/// model, or imported states of texts do not.
[[nodiscard]] objective::DenoiseSettings settled_objective(const RunConfig& config, const PreparedImages& images,
                                                           const model::ImageModel& model);

}  // namespace dormer::train
