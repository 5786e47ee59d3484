#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>

#include "dormer/adapter/adapter_set.hpp"
#include "dormer/core/dtype.hpp"
#include "dormer/tensor/memory.hpp"
#include "dormer/train/run_config.hpp"

namespace dormer::train {

/// Bytes of shapes beyond those that there were when it was made.
class Meter {
 public:
  Meter() : before_(tensor::memory_use(tensor::TensorMemory::kShapes).live) {
    tensor::reset_peak_memory(tensor::TensorMemory::kShapes);
  }
  [[nodiscard]] std::int64_t live() const { return tensor::memory_use(tensor::TensorMemory::kShapes).live - before_; }
  [[nodiscard]] std::int64_t peak() const { return tensor::memory_use(tensor::TensorMemory::kShapes).peak - before_; }

 private:
  std::int64_t before_;
};

/// What a plan says of the data of a run.
struct PlannedData {
  std::int64_t samples = 0;  ///< of an epoch
  std::int64_t tokens = 0;   ///< of the data set; 0: it has none
  bool documents = false;    ///< rows hold several documents, kept apart
  std::string summary;       ///< for a person
};

/// The frozen model of a run, and passes through it, on shapes (`tensor::Rehearsal` lives as long). One kind for each
/// kind of data.
class RehearsedModel {
 public:
  virtual ~RehearsedModel() = default;

  [[nodiscard]] virtual std::span<const adapter::FrozenLayer> layers() const = 0;
  [[nodiscard]] virtual adapter::AddedTokensRequest added_tokens() const { return {}; }
  /// For a person: "llama, 30 blocks of width 576".
  [[nodiscard]] virtual std::string description() const = 0;
  /// The part of the frozen numbers that on a CPU stays the files' mapping.
  [[nodiscard]] virtual std::int64_t mapped_bytes() const = 0;
  /// Opens the data of the run; what follows needs it. Throws what starting the run would throw.
  [[nodiscard]] virtual PlannedData open_data() = 0;
  /// A forward pass that keeps nothing.
  virtual void validate(const adapter::AdapterSet& adapters) const = 0;
  /// A micro-batch, forward and backward; the pack has its dropout.
  virtual void micro_batch(const adapter::Pack& pack) const = 0;
  /// Bytes of its loss alone, of which the micro-batch holds them, too; 0 where they are little.
  [[nodiscard]] virtual std::int64_t loss_alone(const adapter::AdapterSet& /*adapters*/) const { return 0; }
  /// At most while pictures show how the model stands; 0: none do.
  [[nodiscard]] virtual std::int64_t picture_bytes(const adapter::AdapterSet& /*adapters*/) const { return 0; }
  /// At most before training, while other parts compute what is stored: they with their numbers where those are
  /// not mapped (on a GPU none is), and their passes.
  [[nodiscard]] virtual std::int64_t encoding_bytes(bool /*gpu*/) const { return 0; }
  /// At most while `rank` of `ranks` measures the inputs of layers for `adapter.start: eva`; 0 for other starts.
  [[nodiscard]] virtual std::int64_t input_bytes(const adapter::AdapterSet& /*adapters*/, int /*rank*/,
                                                 int /*ranks*/) const {
    return 0;
  }

 protected:
  RehearsedModel() = default;
  RehearsedModel(const RehearsedModel&) = delete;
  RehearsedModel& operator=(const RehearsedModel&) = delete;
};

/// The folder that holds the run's model, of either kind.
[[nodiscard]] std::filesystem::path model_folder_of(const RunConfig& config);

/// Loads the shapes of the run's model; `bytes` are those of every frozen number.
[[nodiscard]] std::unique_ptr<RehearsedModel> rehearse_model(const RunConfig& config,
                                                             const std::filesystem::path& folder, DType dtype,
                                                             std::int64_t& bytes);
[[nodiscard]] std::unique_ptr<RehearsedModel> rehearse_text_model(const RunConfig& config,
                                                                  const std::filesystem::path& folder, DType dtype);
[[nodiscard]] std::unique_ptr<RehearsedModel> rehearse_image_model(const RunConfig& config,
                                                                   const std::filesystem::path& folder, DType dtype);

}  // namespace dormer::train
