#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "dormer/comm/communicator.hpp"
#include "dormer/report/event_writer.hpp"
#include "dormer/report/metrics_writer.hpp"
#include "dormer/train/run.hpp"
#include "dormer/train/shared_bases.hpp"
#include "train/checkpointing.hpp"
#include "train/fault_hooks.hpp"
#include "train/placement.hpp"
#include "train/run_directory.hpp"
#include "train/run_state.hpp"
#include "train/startup.hpp"
#include "train/task.hpp"
#include "train/trial.hpp"

namespace dormer::train {

/// Everything before the first update, step by step, each agreed by all ranks: the ranks mean the same run, the run
/// directory is theirs, where the run goes on, the base and the data, and the trial.
class Preparation {
 public:
  /// Compares the ranks' configurations, takes the run directory and looks for the newest good checkpoint.
  Preparation(const RunConfig& config, comm::Communicator& communicator, const TrainOptions& options);

  /// The result where the run is finished and every export is there: nothing to load then.
  [[nodiscard]] std::optional<TrainResult> already_complete();
  /// Loads base and data, builds the trial and restores it; compares with what the checkpoint stored.
  void load();
  /// Ends the communicator of the devices in order. All ranks call it, last; not after an error.
  void close();

  const RunConfig& config;
  comm::Communicator& communicator;
  RunPaths paths;
  Placement placement{};            ///< this rank's device
  std::unique_ptr<RunLock> lock{};  ///< rank 0's
  std::filesystem::path model_folder{};
  std::unique_ptr<Task> task{};
  std::unique_ptr<comm::Communicator> device_communicator{};  ///< of the ranks' GPUs; null: the launcher's serves
  std::unique_ptr<Trial> trial{};
  std::unique_ptr<report::MetricsWriter> metrics{};  ///< rank 0's
  std::unique_ptr<report::EventWriter> events{};     ///< rank 0's; none of a bare run
  std::vector<std::string> introductions{};          ///< every rank's host, processor, library and transport
  RunState state{};
  bool resumed = false;
  FaultHooks faults{};

  /// Tells the watchdog what begins.
  void enter(Heartbeat::Phase phase, std::string_view what) const {
    if (heartbeat_ != nullptr) {
      heartbeat_->enter(phase, what, state.step);
    }
  }
  /// Tells it that what is under way gets on.
  void progress() const {
    if (heartbeat_ != nullptr) {
      heartbeat_->progress();
    }
  }

 private:
  void find_checkpoint();
  [[nodiscard]] parallel::Links links() const;
  void require_training_memory(DType dtype) const;
  void leave_if_asked();
  void load_text(const NumericChoice& numerics);
  void load_images(const NumericChoice& numerics);
  [[nodiscard]] SharedBases::Images load_image_model(const NumericChoice& numerics, bool encodes_texts, bool shows);
  [[nodiscard]] SharedBases::Model load_language_model(const NumericChoice& numerics);
  [[nodiscard]] SharedBases::Tokens open_dataset(const std::filesystem::path& file, const data::TokenDatasetUse& use);
  void open_tokens(SharedBases::Model model);
  [[nodiscard]] Fingerprint full_fingerprint(Fingerprint fingerprint);
  void set_state(Fingerprint fingerprint);
  void build_trial(DType dtype);
  void open_metrics();

  std::optional<ResumePoint> resume_;
  Heartbeat* heartbeat_ = nullptr;
  SharedBases* bases_ = nullptr;
  bool bare_ = false;
  bool pictures_ = true;
  std::function<void(const Fingerprint&)> check_inputs_;
};

}  // namespace dormer::train
