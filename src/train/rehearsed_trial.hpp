#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "dormer/adapter/adapter_set.hpp"
#include "dormer/core/dtype.hpp"
#include "dormer/optim/optimizer.hpp"
#include "dormer/tensor/rehearsal.hpp"
#include "dormer/train/run_config.hpp"
#include "train/file_plan.hpp"
#include "train/rehearsed_model.hpp"

namespace dormer::train {

/// Bytes beyond what lasts, at the moment that needs most of them.
struct PassingBytes {
  std::int64_t activations = 0;  ///< of a micro-batch, with what the backward pass works on
  std::int64_t loss = 0;         ///< of its logits and their gradients
  std::int64_t validation = 0;   ///< of a forward pass that keeps nothing
  std::int64_t pictures = 0;     ///< of pictures that show how the model stands
  std::int64_t norms = 0;        ///< of the caches' renewal after an update
  std::int64_t report = 0;       ///< of measuring how far the layers moved, when a run ends
};

/// One trial of a run, gone through on shapes: the very code that trains, on tensors without numbers. Nothing of the
/// weights is read. `tensor::configure_process` must have been called: it counts. One at a time.
class RehearsedTrial {
 public:
  struct Place {
    DType dtype = DType::kF32;
    tensor::ProductPath products = tensor::ProductPath::kPlain;
  };
  /// Loads the shapes of the model in `folder` and builds the adapters. Throws what starting the run would throw.
  RehearsedTrial(const RunConfig& config, const std::filesystem::path& folder, const Place& place);
  RehearsedTrial(const RehearsedTrial&) = delete;
  RehearsedTrial& operator=(const RehearsedTrial&) = delete;

  [[nodiscard]] RehearsedModel& model() { return *model_; }
  [[nodiscard]] const RehearsedModel& model() const { return *model_; }
  [[nodiscard]] const adapter::AdapterSet& adapters() const { return adapters_; }
  /// Every frozen number, mapped or not.
  [[nodiscard]] std::int64_t base_bytes() const { return base_bytes_; }
  /// Values, their copies in the compute dtype, and cached norms.
  [[nodiscard]] std::int64_t adapter_bytes() const { return adapter_bytes_; }
  /// At most while the adapters were built, their own bytes among them.
  [[nodiscard]] std::int64_t start_bytes() const { return start_bytes_; }
  /// State of the optimizer for a slice of the flat space.
  [[nodiscard]] std::int64_t state_bytes(optim::ElementRange slice) const;
  /// Names of the optimizer's arrays.
  [[nodiscard]] std::vector<std::string> state_names() const;
  /// Of those that every rank holds whole.
  [[nodiscard]] std::vector<SharedShape> shared_shapes() const;
  /// Goes through a micro-batch, a validation, pictures and what follows an update. The model's data is open.
  [[nodiscard]] PassingBytes pass();

 private:
  [[nodiscard]] std::unique_ptr<optim::Optimizer> make_optimizer(optim::ElementRange slice,
                                                                 const std::string& device) const;
  void measure_micro_batch(PassingBytes& bytes);

  const RunConfig& config_;
  tensor::Rehearsal rehearsal_;
  std::int64_t base_bytes_ = 0;  // measured while the members below are made
  std::int64_t adapter_bytes_ = 0;
  std::int64_t start_bytes_ = 0;
  std::unique_ptr<RehearsedModel> model_;
  adapter::AdapterSet adapters_;
};

}  // namespace dormer::train
