#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "dormer/adapter/adapter_set.hpp"
#include "dormer/adapter/config.hpp"
#include "dormer/model/language_model.hpp"

namespace dormer::train {

/// A frozen model and perhaps a trained adapter, by their places.
struct StoredModelRequest {
  std::filesystem::path model;                   ///< a folder, or org/name in the offline cache
  std::optional<std::filesystem::path> adapter;  ///< in a form of interop; absent: the base alone
  std::string dtype = "auto";                    ///< as model.dtype
  std::string device = "cpu";                    ///< as run.device
};

/// A model that is used and not trained.
struct StoredModel {
  std::filesystem::path folder;
  std::unique_ptr<model::LanguageModel> model;
  std::optional<adapter::AdapterSet> adapters;  ///< its caches are fresh
  [[nodiscard]] const adapter::AdapterSet* adapters_or_null() const { return adapters ? &*adapters : nullptr; }
};

[[nodiscard]] StoredModel load_stored_model(const StoredModelRequest& request);

/// The configuration of a run that would have made the adapter in this file or folder.
[[nodiscard]] adapter::AdapterConfig stored_adapter_config(const std::filesystem::path& source);
/// The rows for added tokens that the adapter has trained on this model; none: count 0.
[[nodiscard]] adapter::AddedTokensRequest stored_added_tokens(const std::filesystem::path& source,
                                                              const model::LanguageModel& model);

}  // namespace dormer::train
