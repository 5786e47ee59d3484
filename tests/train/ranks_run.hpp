#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "dormer/core/error.hpp"
#include "support/borrowed_communicator.hpp"
#include "support/temp_directory.hpp"
#include "train/text_task.hpp"
#include "train/tiny_run.hpp"
#include "train/trial.hpp"

namespace dormer::train {

/// What updates need beside the trial that is tested.
struct TrialSetup {
  TrialSetup(const RunConfig& run_config, const parallel::Links& links)
      : config(run_config),
        task({.model = model::load_language_model(config.model.path, {.dtype = DType::kF32, .device = links.device}),
              .training = std::make_unique<data::TokenDataset>(
                  config.data.train,
                  data::TokenDatasetUse{.sequence_length = 16, .model_vocabulary = 256, .tokenizer_sha256 = {}}),
              .seed = RandomKey{7}}),
        trial(config, task, {.total = 6, .warmup = 2}, links) {}

  [[nodiscard]] UpdateInputs inputs(std::int64_t step) const {
    return {.task = task, .step = step, .position = step * 8, .seconds = 0.0};
  }

  RunConfig config;
  TextTask task;
  Trial trial;
};

/// Fails once armed, on one rank, before the n-th bucket is sent.
class FailingCommunicator final : public testing::BorrowedCommunicator {
 public:
  FailingCommunicator(comm::Communicator& inner, int rank, int call)
      : BorrowedCommunicator(inner), calls_left_(inner.rank() == rank ? call : 0) {}
  void arm() { armed_ = true; }
  comm::Pending all_reduce(BufferView buffer, comm::ReduceOp op) override {
    fail_when_due();
    return BorrowedCommunicator::all_reduce(buffer, op);
  }
  comm::Pending reduce_scatter(ConstBufferView send, BufferView receive,
                               std::span<const std::int64_t> counts) override {
    fail_when_due();
    return BorrowedCommunicator::reduce_scatter(send, receive, counts);
  }

 private:
  void fail_when_due() {
    if (armed_ && calls_left_ > 0 && --calls_left_ == 0) {
      fail(Fault::kIo, "the third bucket of rank 1");
    }
  }
  bool armed_ = false;
  int calls_left_;
};

/// Every update's loss in metrics.jsonl.
[[nodiscard]] std::vector<double> losses(const std::filesystem::path& run);

/// Every update's loss and the trained parameters of two runs of 20 updates, within 1e-6 of their size. Sums in another
/// order differ by a few units of 2^-24 = 6e-8.
void expect_close_runs(const std::filesystem::path& exact, const std::filesystem::path& fast);

/// One folder for all ranks; rank 0 makes and removes it.
class RanksTest : public ::testing::Test {
 protected:
  void SetUp() override;
  void TearDown() override;
  /// What one rank gets that trains alone.
  static void train_reference(const RunConfig& config);
  /// Arrays of the newest checkpoints, exports and metrics, byte by byte.
  void expect_equal_runs(const std::string& a, const std::string& b) const;

  std::unique_ptr<TinyRun> tiny_;

 private:
  std::optional<test::TempDirectory> own_;
};

}  // namespace dormer::train
