#include "dormer/train/run.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fstream>
#include <sstream>

#include <gmock/gmock.h>

#include "dormer/comm/single.hpp"
#include "dormer/comm/threads.hpp"
#include "dormer/core/atomic_file.hpp"
#include "dormer/core/error.hpp"
#include "dormer/core/stop.hpp"
#include "dormer/report/run_record.hpp"
#include "dormer/storage/checkpoint.hpp"
#include "dormer/storage/safetensors.hpp"
#include "dormer/train/evaluate.hpp"
#include "support/tiny_model.hpp"
#include "train/tiny_run.hpp"

namespace dormer::train {
namespace {

using ::testing::HasSubstr;

TrainResult train_alone(const RunConfig& config, const TrainOptions& options = {}) {
  const std::unique_ptr<comm::Communicator> communicator = comm::single();
  return train(config, *communicator, options);
}

void expect_error(const RunConfig& config, Fault fault, const std::string& text) {
  try {
    train_alone(config);
    FAIL() << text;
  } catch (const Error& error) {
    EXPECT_EQ(error.fault(), fault) << error.what();
    EXPECT_THAT(error.what(), HasSubstr(text));
  }
}

/// Asks to stop after this many updates, as a signal would.
TrainOptions stop_after(std::int64_t step) {
  return {.traced = {}, .on_progress = [step](const Progress& progress) {
            if (progress.step == step) {
              request_stop();
            }
          }};
}

class RunTest : public ::testing::Test {
 protected:
  void TearDown() override { clear_stop(); }
  TinyRun tiny_;
};

TEST_F(RunTest, LearnsAndLeavesARunDirectory) {
  RunConfig config = tiny_.config();
  config.run.steps = 30;
  config.validation.every = config::Cadence::steps(10);
  const TrainResult result = train_alone(config);
  EXPECT_EQ(result.outcome, Outcome::kFinished);
  EXPECT_EQ(result.step, 30);
  ASSERT_TRUE(result.first_validation_loss && result.last_validation_loss);
  EXPECT_LT(*result.last_validation_loss, *result.first_validation_loss - 0.5);
  for (const char* name : {"config.yaml", "run.lock", "log.txt", "metrics.jsonl", "report.json", "report.html",
                           "checkpoints/step-000000030/manifest.json"}) {
    EXPECT_TRUE(std::filesystem::exists(config.run.directory / name)) << name;
  }
}

TEST_F(RunTest, AStopWhereItShallPauseLeavesTheMeasurementToTheNextLife) {
  RunConfig config = tiny_.config();
  config.validation.every = config::Cadence::steps(1'000);
  TrainOptions options = stop_after(2);  // the third update tells all ranks
  options.until = 3;
  const TrainResult stopped = train_alone(config, options);
  ASSERT_EQ(stopped.outcome, Outcome::kSavedForRequeue);
  ASSERT_EQ(stopped.step, 3);
  clear_stop();
  const TrainResult paused = train_alone(config, {.until = 3});
  EXPECT_EQ(paused.outcome, Outcome::kPaused);
  EXPECT_EQ(paused.step, 3);
  EXPECT_TRUE(paused.last_validation_loss);
  const std::string metrics = timeless_metrics(tiny_.folder() / "run");
  const std::string last = metrics.substr(metrics.rfind('\n', metrics.size() - 2) + 1);
  EXPECT_THAT(last, HasSubstr("\"step\":3,"));
  EXPECT_THAT(last, HasSubstr("\"validation_loss\":"));
}

TEST_F(RunTest, MetricsHaveOneLineAStep) {
  train_alone(tiny_.config());
  std::istringstream lines(timeless_metrics(tiny_.folder() / "run"));
  std::string line;
  for (int step = 0; step <= 6; ++step) {
    ASSERT_TRUE(std::getline(lines, line)) << step;
    EXPECT_THAT(line, HasSubstr(fmt::format("\"step\":{},", step)));
    EXPECT_EQ(line.find("validation_loss") != std::string::npos, step % 2 == 0) << line;
    EXPECT_EQ(line.find("\"gradient_norm\"") != std::string::npos, step > 0) << line;
  }
  EXPECT_FALSE(std::getline(lines, line));
}

report::RunRecord record_of(const RunConfig& config) {
  return report::read_run(config.run.directory).record;
}

TEST_F(RunTest, TheReportTellsHowTheRunEndedAndHowItsLayersMoved) {
  const RunConfig config = tiny_.config();
  train_alone(config, stop_after(2));
  clear_stop();
  EXPECT_EQ(record_of(config).exit_code, 85);
  EXPECT_EQ(record_of(config).step, 3);
  train_alone(config);
  const report::RunRecord record = record_of(config);
  EXPECT_EQ(record.exit_code, 0);
  EXPECT_EQ(record.step, 6);
  ASSERT_EQ(record.layers.size(), 14U);
  EXPECT_EQ(record.layers.front().layer, "model.layers.0.self_attn.q_proj");
  for (const report::LayerChange& layer : record.layers) {
    EXPECT_GT(layer.direction, 0.0) << layer.layer;
    EXPECT_GT(layer.magnitude, 0.0) << layer.layer;
  }
  EXPECT_THAT(read_file(config.run.directory / "report.html", "report"), HasSubstr("model.layers.1.mlp.down_proj"));
}

TEST_F(RunTest, AReportThatCannotBeWrittenDoesNotStopTheRun) {
  const RunConfig config = tiny_.config();
  std::filesystem::create_directories(config.run.directory / "report.html" / "in the way");
  EXPECT_EQ(train_alone(config).outcome, Outcome::kFinished);
}

TEST_F(RunTest, AStoppedRunGoesOnToTheSameBits) {
  train_alone(tiny_.config("whole"));
  for (std::int64_t step = 1; step <= 5; ++step) {
    const std::string name = fmt::format("stopped-{}", step);
    const TrainResult stopped = train_alone(tiny_.config(name), stop_after(step - 1));  // heard during the next update
    if (step > 1) {
      EXPECT_EQ(stopped.outcome, Outcome::kSavedForRequeue);
      EXPECT_EQ(stopped.step, step);
    }
    clear_stop();
    const TrainResult finished = train_alone(tiny_.config(name));
    EXPECT_EQ(finished.outcome, Outcome::kFinished);
    EXPECT_EQ(newest_arrays(tiny_.folder() / name), newest_arrays(tiny_.folder() / "whole"))
        << "stopped after " << step;
    EXPECT_EQ(exported_weights(tiny_.folder() / name), exported_weights(tiny_.folder() / "whole"));
    EXPECT_EQ(timeless_metrics(tiny_.folder() / name), timeless_metrics(tiny_.folder() / "whole"))
        << "stopped after " << step;
  }
}

/// Of all blocks, and where the first has nothing that trains.
TEST_F(RunTest, RecomputedBlocksGiveTheSameBits) {
  for (const std::optional<std::string>& layers : {std::optional<std::string>{}, std::optional<std::string>{"1"}}) {
    const std::string suffix = layers.value_or("all");
    RunConfig config = tiny_.config("kept-" + suffix);
    config.adapter.layers = layers;
    train_alone(config);
    config.run.directory = tiny_.folder() / ("recomputed-" + suffix);
    config.run.recompute = true;
    train_alone(config);
    EXPECT_EQ(newest_arrays(tiny_.folder() / ("recomputed-" + suffix)),
              newest_arrays(tiny_.folder() / ("kept-" + suffix)));
    EXPECT_EQ(timeless_metrics(tiny_.folder() / ("recomputed-" + suffix)),
              timeless_metrics(tiny_.folder() / ("kept-" + suffix)));
  }
}

TEST_F(RunTest, ABadCheckpointIsSetAsideAndTheOneBeforeIsUsed) {
  train_alone(tiny_.config("whole"));
  train_alone(tiny_.config());
  const std::filesystem::path newest = tiny_.folder() / "run/checkpoints/step-000000006";
  {
    std::fstream shard(newest / "shard-00000-of-00001.h5", std::ios::in | std::ios::out | std::ios::binary);
    shard.seekp(5000);
    shard.put('\x55');
    shard.put('\xAA');
  }
  const TrainResult result = train_alone(tiny_.config());
  EXPECT_EQ(result.first_step, 4);
  EXPECT_TRUE(std::filesystem::exists(newest.string() + ".corrupt"));
  EXPECT_EQ(newest_arrays(tiny_.folder() / "run"), newest_arrays(tiny_.folder() / "whole"));
}

TEST_F(RunTest, WithoutAnyGoodCheckpointItDoesNotStartOverInSilence) {
  train_alone(tiny_.config());
  for (const auto& place : storage::list_checkpoints(tiny_.folder() / "run/checkpoints")) {
    std::ofstream(place.folder / "manifest.json") << "{}";
  }
  expect_error(tiny_.config(), Fault::kInput, "no good checkpoint is left");
  expect_error(tiny_.config(), Fault::kInput, "no good checkpoint is left");
}

TEST_F(RunTest, AFinishedRunIsNotTouchedAgain) {
  const std::int64_t parameters = train_alone(tiny_.config()).trainable_parameters;
  EXPECT_GT(parameters, 0);
  const auto changed = std::filesystem::last_write_time(tiny_.folder() / "run/metrics.jsonl");
  std::filesystem::remove_all(tiny_.folder() / "model");  // nothing of it is needed
  const TrainResult result = train_alone(tiny_.config());
  EXPECT_EQ(result.outcome, Outcome::kFinished);
  EXPECT_EQ(result.first_step, 6);
  EXPECT_EQ(result.trainable_parameters, parameters);
  EXPECT_EQ(std::filesystem::last_write_time(tiny_.folder() / "run/metrics.jsonl"), changed);
}

TEST_F(RunTest, RerunningAFinishedRunWritesOnlyTheExportThatIsMissing) {
  train_alone(tiny_.config());
  const std::string weights = exported_weights(tiny_.folder() / "run");
  const std::string metrics = timeless_metrics(tiny_.folder() / "run");
  std::filesystem::remove_all(tiny_.folder() / "run/export/peft");
  EXPECT_EQ(train_alone(tiny_.config()).first_step, 6);
  EXPECT_EQ(exported_weights(tiny_.folder() / "run"), weights);
  EXPECT_EQ(timeless_metrics(tiny_.folder() / "run"), metrics);
}

TEST_F(RunTest, ExportsTheBestParametersWhereTheyAreKept) {
  RunConfig config = tiny_.config();
  config.run.steps = 30;
  config.optimizer.learning_rate = 2.0;  // the warm-up goes through rates that learn to rates that destroy
  config.schedule.warmup = {.amount = 30.0, .share = false};
  const TrainResult result = train_alone(config);
  ASSERT_LT(*result.best_validation_loss, *result.last_validation_loss);
  const std::unique_ptr<comm::Communicator> communicator = comm::single();
  const std::filesystem::path folder = config.run.directory / "export/peft";
  EXPECT_EQ(evaluate(config, *communicator, {.adapter = folder, .samples = {}}).loss, *result.best_validation_loss);
  config.run.directory = tiny_.folder() / "last";
  config.validation.keep_best = false;
  train_alone(config);
  EXPECT_EQ(evaluate(config, *communicator, {.adapter = config.run.directory / "export/peft", .samples = {}}).loss,
            *result.last_validation_loss);
}

TEST_F(RunTest, ExportsLargeChangesOfAModelInBfloat16) {
  // Every export is compared with the trained adapter, and norms of rounded factors (docs/adr/0032) pass.
  RunConfig config = tiny_.config();
  config.run.steps = 20;
  config.model.dtype = "bfloat16";
  config.optimizer.learning_rate = 0.1;
  EXPECT_EQ(train_alone(config).outcome, Outcome::kFinished);
}

TEST_F(RunTest, GoesOnFromAnExportedAdapter) {
  train_alone(tiny_.config("first"));
  RunConfig config = tiny_.config("second");
  config.adapter.init_from = (tiny_.folder() / "first/export/peft").string();
  const TrainResult result = train_alone(config);
  const std::unique_ptr<comm::Communicator> communicator = comm::single();
  EXPECT_EQ(*result.first_validation_loss,
            evaluate(config, *communicator, {.adapter = *config.adapter.init_from, .samples = {}}).loss);
}

TEST_F(RunTest, AnotherExperimentInTheSameDirectoryIsRefused) {
  train_alone(tiny_.config());
  RunConfig config = tiny_.config();
  config.optimizer.learning_rate = 1e-3;
  expect_error(config, Fault::kUsage, "optimizer.learning_rate: 0.005 -> 0.001");
  config = tiny_.config();
  config.run.steps = 8;
  expect_error(config, Fault::kUsage, "schedule.extend");
  config.schedule.extend = "stretch";
  EXPECT_EQ(train_alone(config).step, 8);
  config = tiny_.config();
  config.run.resume = "never";
  expect_error(config, Fault::kUsage, "run.resume is never");
}

TEST_F(RunTest, OtherDataOrAnotherBaseUnderTheSameNameIsRefused) {
  train_alone(tiny_.config(), stop_after(2));
  clear_stop();
  test::write_tiny_tokens(tiny_.folder() / "train.h5", 16 * 50 + 1, 99);
  expect_error(tiny_.config(), Fault::kUsage, "data.train");
  test::write_tiny_tokens(tiny_.folder() / "train.h5", 16 * 50 + 1, 1);
  test::write_tiny_model(tiny_.folder() / "model", {.seed = 99});
  expect_error(tiny_.config(), Fault::kUsage, "model: ");
}

TEST_F(RunTest, MistakesAreNamedWithTheirExitCode) {
  RunConfig config = tiny_.config();
  config.data.sequence_length = 129;
  expect_error(config, Fault::kUsage, "at most 128 positions");
  config = tiny_.config();
  config.model.path = tiny_.folder() / "nowhere";
  expect_error(config, Fault::kInput, "nowhere");
  config = tiny_.config();
  config.adapter.rank = 65;
  expect_error(config, Fault::kUsage, "rank 65");
  config = tiny_.config();
  config.run.directory = "/proc/dormer-run";
  expect_error(config, Fault::kIo, "/proc/dormer-run");
  config = tiny_.config();
  config.data.train = tiny_.folder() / "model/tokenizer.json";
  expect_error(config, Fault::kInput, "tokenizer.json");
}

TEST_F(RunTest, ANumericalFailureStopsBeforeAnythingIsWritten) {
  RunConfig config = tiny_.config();
  config.adapter.decompose.reset();
  config.optimizer.learning_rate = 1e37;  // products of such numbers overflow
  config.schedule.warmup = {};
  config.optimizer.max_gradient_norm = std::nullopt;
  config.validation.every = config::Cadence::never();
  config.checkpoint.every = config::Cadence::steps(1);
  expect_error(config, Fault::kNumerical, "nothing was changed");
  EXPECT_EQ(record_of(config).exit_code, 5);
  EXPECT_THAT(record_of(config).state, HasSubstr("failed: update"));
  for (const auto& place : storage::list_checkpoints(config.run.directory / "checkpoints")) {
    for (const storage::StoredArray& array : storage::load_checkpoint(place.folder).arrays) {
      const auto* values = reinterpret_cast<const float*>(array.bytes.data());
      EXPECT_TRUE(std::all_of(values, values + array.bytes.size() / sizeof(float),
                              [](float value) { return std::isfinite(value); }))
          << array.name << " of step " << place.step;
    }
  }
}

TEST_F(RunTest, ParametersThatAreNotFiniteAreNeverSaved) {
  RunConfig config = tiny_.config();
  config.optimizer.learning_rate = 1e39;  // beyond fp32: the update itself overflows
  config.schedule.warmup = {};
  config.validation.every = config::Cadence::never();
  config.checkpoint.every = config::Cadence::steps(1);
  expect_error(config, Fault::kNumerical, "is not finite after update 1");
  EXPECT_TRUE(storage::list_checkpoints(config.run.directory / "checkpoints").empty());
}

TEST_F(RunTest, ATraceTellsOneUpdate) {
  RunConfig config = tiny_.config();
  config.validation.every = config::Cadence::never();
  train_alone(config, {.traced = {3, 3}, .on_progress = {}});
  const auto file = storage::SafetensorsFile::open(config.run.directory / "trace/update-000000003.safetensors");
  EXPECT_EQ(file->metadata().at("format"), "dormer.trace/1");
  EXPECT_EQ(file->metadata().at("step"), "3");
  const auto shape = [&](const std::string& name) {
    const storage::TensorEntry* entry = file->find(name);
    return entry == nullptr ? std::vector<std::int64_t>{-1} : entry->shape;
  };
  using Shape = std::vector<std::int64_t>;
  EXPECT_EQ(shape("tokens"), (Shape{8, 17}));
  EXPECT_EQ(shape("losses"), Shape{4});
  EXPECT_EQ(shape("before.model.layers.0.self_attn.k_proj.lora_A.weight"), (Shape{4, 64}));
  EXPECT_EQ(shape("gradient.model.layers.1.self_attn.k_proj.lora_B.weight"), (Shape{32, 4}));
  EXPECT_EQ(shape("after.model.layers.1.mlp.up_proj.lora_magnitude_vector"), Shape{112});
  EXPECT_EQ(shape("norm.model.layers.1.mlp.down_proj"), Shape{64});
  const auto scalar = [&](const std::string& name) {
    double value = 0.0;
    std::memcpy(&value, file->bytes(*file->find(name)).data(), sizeof value);
    return value;
  };
  EXPECT_THAT(timeless_metrics(config.run.directory), HasSubstr(fmt::format("\"step\":3,\"loss\":{}", scalar("loss"))));
  EXPECT_DOUBLE_EQ(scalar("learning_rate"), 5e-3);
}

TEST_F(RunTest, PatienceEndsARun) {
  RunConfig config = tiny_.config();
  config.run.steps = 40;
  config.optimizer.learning_rate = 1e-30;  // learns nothing: no loss is better than the first
  config.validation.patience = 2;
  const TrainResult result = train_alone(config);
  EXPECT_EQ(result.outcome, Outcome::kFinished);
  EXPECT_LT(result.step, 40);
  EXPECT_EQ(train_alone(config).first_step, result.step) << "finished for good";
}

TEST_F(RunTest, MoreRanksThanLeavesAreAUsageError) {
  const RunConfig config = tiny_.config();  // four micro-batches
  comm::ThreadWorld(5).run([&](comm::Communicator& communicator) {
    try {
      train(config, communicator);
      FAIL();
    } catch (const Error& error) {
      EXPECT_EQ(error.fault(), Fault::kUsage) << error.what();
    }
  });
}

}  // namespace
}  // namespace dormer::train
