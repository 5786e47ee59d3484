#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "dormer/storage/checkpoint.hpp"
#include "dormer/train/run.hpp"
#include "support/temp_directory.hpp"

namespace dormer::train {

/// A tiny model and its data in a folder of their own, and configurations that train on them.
class TinyRun {
 public:
  TinyRun();
  /// In an existing folder: `prepare` once, by one process.
  explicit TinyRun(std::filesystem::path folder) : folder_(std::move(folder)) {}
  static void prepare(const std::filesystem::path& folder);

  /// DoRA, 6 updates of 8 samples of 16 tokens in micro-batches of 2, validation and checkpoint every 2, one export for
  /// PEFT.
  [[nodiscard]] RunConfig config(const std::string& run = "run") const;
  /// The same on a model of 20 tokens, with a tied or a separate head, whose tokenizer and data have three more.
  [[nodiscard]] RunConfig config_with_added_tokens(const std::string& run, bool tied) const;
  [[nodiscard]] const std::filesystem::path& folder() const { return folder_; }

 private:
  std::optional<test::TempDirectory> own_{};
  std::filesystem::path folder_;
};

/// The newest checkpoint, verified.
[[nodiscard]] storage::Checkpoint newest_checkpoint(const std::filesystem::path& run);

/// The bytes of its arrays.
[[nodiscard]] std::string newest_arrays(const std::filesystem::path& run);

/// The bytes of the exported adapter_model.safetensors.
[[nodiscard]] std::string exported_weights(const std::filesystem::path& run);

/// metrics.jsonl without what depends on the clock.
[[nodiscard]] std::string timeless_metrics(const std::filesystem::path& run);

}  // namespace dormer::train
