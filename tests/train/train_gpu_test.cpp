// Whole runs on the first GPU, by one rank; without a GPU on the simulated one.
#include <array>
#include <cmath>
#include <cstdlib>
#include <sstream>

#include <gmock/gmock.h>
#include <nlohmann/json.hpp>

#include "dormer/comm/single.hpp"
#include "dormer/core/atomic_file.hpp"
#include "dormer/core/stop.hpp"
#include "dormer/inference/generate.hpp"
#include "dormer/optim/optimizer.hpp"
#include "dormer/train/checkpoint_facts.hpp"
#include "dormer/train/evaluate.hpp"
#include "dormer/train/run.hpp"
#include "dormer/train/shared_bases.hpp"
#include "dormer/train/stored_model.hpp"
#include "train/tiny_run.hpp"

namespace dormer::train {
namespace {

/// Between fp32 on a GPU and on a CPU: each of some 40 operations that follow one another rounds sums of up to 112
/// terms in its own order, 40 * sqrt(112) * 2^-24 = 2.5e-5; AdamW's first updates are of one size whatever the
/// gradient's, so that a rounding may move a parameter by as much. Products in TF32 (2^-11) are far above.
constexpr double kTolerance = 1e-4;

TrainResult train_alone(const RunConfig& config, const TrainOptions& options = {}) {
  const std::unique_ptr<comm::Communicator> communicator = comm::single();
  return train(config, *communicator, options);
}

/// Losses and held-out losses, one line after the other.
std::vector<double> losses(const std::filesystem::path& run) {
  std::vector<double> result;
  std::istringstream lines(read_file(run / "metrics.jsonl", "metrics"));
  for (std::string line; std::getline(lines, line);) {
    const nlohmann::json object = nlohmann::json::parse(line);
    for (const char* name : {"loss", "validation_loss"}) {
      if (object.contains(name)) {
        result.push_back(object[name].get<double>());
      }
    }
  }
  return result;
}

void expect_close_losses(const std::filesystem::path& actual_run, const std::filesystem::path& expected_run) {
  const std::vector<double> actual = losses(actual_run);
  const std::vector<double> expected = losses(expected_run);
  ASSERT_EQ(actual.size(), expected.size());
  for (std::size_t i = 0; i < actual.size(); ++i) {
    EXPECT_NEAR(actual[i], expected[i], kTolerance * expected[i]) << "loss " << i;
  }
}

class RunOnAGpu : public ::testing::Test {
 protected:
  void TearDown() override { clear_stop(); }

  [[nodiscard]] RunConfig config(const std::string& run) const {
    RunConfig result = tiny_.config(run);
    result.run.device = "cuda";
    result.run.deterministic = true;
    return result;
  }

  TinyRun tiny_;
};

TEST_F(RunOnAGpu, HasTheLossesOfTheCpu) {
  for (const char* variant : {"kept", "recomputed"}) {
    RunConfig gpu = config(std::string("gpu-") + variant);
    gpu.adapter.dropout = 0.1;
    gpu.run.recompute = std::string_view(variant) == "recomputed";
    RunConfig cpu = gpu;
    cpu.run.device = "cpu";
    cpu.run.directory = tiny_.folder() / (std::string("cpu-") + variant);
    train_alone(gpu);
    train_alone(cpu);
    expect_close_losses(gpu.run.directory, cpu.run.directory);
  }
}

TEST_F(RunOnAGpu, HasTheSameBitsTwiceAndAfterAnInterruption) {
  train_alone(config("first"));
  train_alone(config("second"));
  EXPECT_EQ(newest_arrays(tiny_.folder() / "first"), newest_arrays(tiny_.folder() / "second"));
  const TrainOptions stop_after_three{.traced = {}, .on_progress = [](const Progress& progress) {
                                        if (progress.step == 3) {
                                          request_stop();
                                        }
                                      }};
  EXPECT_EQ(train_alone(config("interrupted"), stop_after_three).outcome, Outcome::kSavedForRequeue);
  clear_stop();
  EXPECT_EQ(train_alone(config("interrupted")).outcome, Outcome::kFinished);
  EXPECT_EQ(newest_arrays(tiny_.folder() / "first"), newest_arrays(tiny_.folder() / "interrupted"));
  EXPECT_EQ(exported_weights(tiny_.folder() / "first"), exported_weights(tiny_.folder() / "interrupted"));
  EXPECT_EQ(timeless_metrics(tiny_.folder() / "first"), timeless_metrics(tiny_.folder() / "interrupted"));
}

/// A small rate: where rounding turns the sign of a gradient near zero, or the code of a moment, little follows.
TEST_F(RunOnAGpu, UpdatesWithEveryOptimizerAsTheCpuAndGoesOnWithTheSameBits) {
  for (const std::string& kind : optim::optimizer_registry().names()) {
    const auto with_kind = [&](const std::string& run, const char* device, std::int64_t steps) {
      RunConfig result = config(run + "-" + kind);
      result.run.device = device;
      result.run.steps = steps;
      result.optimizer.kind = kind;
      result.optimizer.learning_rate = kind == "prodigy" ? 1.0 : 1e-4;
      result.schedule.kind = "constant";
      result.schedule.extend = "stretch";
      return result;
    };
    train_alone(with_kind("gpu", "cuda", 6));
    train_alone(with_kind("cpu", "cpu", 6));
    expect_close_losses(tiny_.folder() / ("gpu-" + kind), tiny_.folder() / ("cpu-" + kind));
    train_alone(with_kind("parts", "cuda", 4));
    train_alone(with_kind("parts", "cuda", 6));
    EXPECT_EQ(newest_arrays(tiny_.folder() / ("gpu-" + kind)), newest_arrays(tiny_.folder() / ("parts-" + kind)))
        << kind;
  }
}

TEST_F(RunOnAGpu, TrainsEveryKindOnEveryAxisAsTheCpu) {
  for (const char* kind : {"lora", "locon", "loha", "lokr", "full"}) {
    for (const char* axis : {"none", "output", "input"}) {
      const auto with_kind = [&](const char* device) {
        RunConfig result = config(fmt::format("{}-{}-{}", device, kind, axis));
        result.run.device = device;
        result.adapter.kind = kind;
        result.run.steps = 2;
        result.adapter.decompose.reset();
        if (std::string_view(axis) != "none") {
          result.adapter.decompose.emplace().axis = axis;
        }
        result.optimizer.learning_rate = 1e-4;  // as above
        result.exports.clear();
        return result;
      };
      SCOPED_TRACE(fmt::format("{}, axis {}", kind, axis));
      train_alone(with_kind("cuda"));
      train_alone(with_kind("cpu"));
      expect_close_losses(with_kind("cuda").run.directory, with_kind("cpu").run.directory);
      if (std::string_view(kind) == "full") {
        break;  // of whole weights nothing is decomposed
      }
    }
  }
}

/// A device's library chooses a product's kernel by its rows, so a pack may round otherwise than its trials alone: the
/// losses are the same, and with the same pack again the bits.
TEST_F(RunOnAGpu, TrainsPacksAsTheirTrialsAlone) {
  const auto trial = [&](const std::string& group, int number) {
    RunConfig result = config(fmt::format("{}-{}", group, number));
    result.run.seed = 3 + number;
    result.adapter.rank = std::array{4, 16, 3, 8}.at(static_cast<std::size_t>(number));
    result.adapter.kind = std::array{"lora", "lora", "loha", "lokr"}.at(static_cast<std::size_t>(number));
    if (number == 1) {
      result.adapter.decompose.reset();
    }
    result.run.steps = 2;
    result.optimizer.learning_rate = 1e-4 * (1.0 + number);
    result.exports.clear();
    return result;
  };
  const std::unique_ptr<comm::Communicator> alone = comm::single();
  for (const char* group : {"pack", "again"}) {
    std::vector<RunConfig> configs;
    for (int number = 0; number < 4; ++number) {
      configs.push_back(trial(group, number));
    }
    SharedBases bases;
    for (const LaneOutcome& outcome : train_pack(configs, *alone, {.bases = &bases})) {
      ASSERT_TRUE(outcome.result) << outcome.message;
    }
  }
  int same_bytes = 0;
  for (int number = 0; number < 4; ++number) {
    train_alone(trial("alone", number));
    const auto run = [&](const char* group) { return tiny_.folder() / fmt::format("{}-{}", group, number); };
    expect_close_losses(run("pack"), run("alone"));
    EXPECT_EQ(newest_arrays(run("pack")), newest_arrays(run("again"))) << "trial " << number;
    same_bytes += newest_arrays(run("pack")) == newest_arrays(run("alone")) ? 1 : 0;
  }
  fmt::print("{} of 4 trials of a pack have the bytes of their runs alone\n", same_bytes);
}

TEST_F(RunOnAGpu, GoesOnOnACpuAndBack) {
  const auto part = [&](const std::string& run, const char* device, std::int64_t steps) {
    RunConfig result = config(run);
    result.run.device = device;
    result.run.steps = steps;
    result.schedule.kind = "constant";
    result.schedule.extend = "stretch";
    return result;
  };
  train_alone(part("reference", "cpu", 6));
  for (const auto& [run, first, second] : {std::tuple("to-cpu", "cuda", "cpu"), std::tuple("to-gpu", "cpu", "cuda")}) {
    train_alone(part(run, first, 4));
    train_alone(part(run, second, 6));
    expect_close_losses(tiny_.folder() / run, tiny_.folder() / "reference");
  }
}

TEST_F(RunOnAGpu, ComputesInBfloat16AndSumsFastUnlessTold) {
  RunConfig automatic = config("automatic");
  automatic.run.deterministic = false;
  automatic.model.dtype = "auto";
  RunConfig exact = config("exact");
  exact.model.dtype = "bfloat16";
  train_alone(automatic);
  train_alone(exact);
  const std::vector<double> actual = losses(automatic.run.directory);
  const std::vector<double> expected = losses(exact.run.directory);
  ASSERT_EQ(actual.size(), expected.size());
  for (std::size_t i = 0; i < actual.size(); ++i) {  // the same bfloat16 products; sums in fp32 in another order
    EXPECT_NEAR(actual[i], expected[i], 1e-2 * expected[i]) << "loss " << i;
  }
  const std::filesystem::path newest = storage::list_checkpoints(automatic.run.directory / "checkpoints").at(0).folder;
  EXPECT_THAT(checkpoint_facts(newest), ::testing::Contains(Fact("dtype", "bfloat16")));
}

TEST_F(RunOnAGpu, IsEvaluatedAndContinuesTextThere) {
  const RunConfig wanted = config("run");
  const TrainResult result = train_alone(wanted);
  const std::filesystem::path adapter = wanted.run.directory / "export/peft";
  const std::unique_ptr<comm::Communicator> alone = comm::single();
  const std::filesystem::path logits = tiny_.folder() / "logits.safetensors";
  EXPECT_EQ(evaluate(wanted, *alone, {.adapter = adapter, .samples = {}, .logits = logits}).loss,
            result.best_validation_loss.value_or(0.0));
  EXPECT_GT(std::filesystem::file_size(logits), 15U * 256U * sizeof(float));
  const auto continued = [&](const char* device) {
    const StoredModel stored =
        load_stored_model({.model = wanted.model.path, .adapter = adapter, .dtype = "float32", .device = device});
    return inference::generate(*stored.model, stored.adapters_or_null(), {5, 17, 99}, {.max_new_tokens = 6});
  };
  const inference::Generation here = continued("cuda");
  const inference::Generation there = continued("cpu");
  ASSERT_EQ(here.tokens, there.tokens);
  for (std::size_t i = 0; i < here.tokens.size(); ++i) {
    EXPECT_NEAR(here.log_probabilities[i], there.log_probabilities[i], kTolerance * 10.0) << "token " << i;
  }
}

}  // namespace
}  // namespace dormer::train
