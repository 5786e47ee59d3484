// Runs whose layers differ: whole weights beside low-rank changes, layers that stop, dropout.
#include <algorithm>
#include <map>
#include <string>

#include <gmock/gmock.h>

#include "dormer/comm/single.hpp"
#include "dormer/storage/checkpoint.hpp"
#include "dormer/storage/safetensors.hpp"
#include "dormer/train/run.hpp"
#include "train/tiny_run.hpp"

namespace dormer::train {
namespace {

class KindsTest : public ::testing::Test {
 protected:
  /// DoRA, with whole weights on one layer and others that stop after three of six updates.
  [[nodiscard]] RunConfig mixed(const std::string& run) const {
    RunConfig config = tiny_.config(run);
    config.adapter.dropout = 0.2;
    config.adapter.targets = {"all-linear", "embed_tokens", "lm_head", "*norm"};
    config.adapter.overrides = {{.match = "down_proj", .kind = "full", .learning_rate = 1e-3},
                                {.match = "lm_head", .kind = "full"},
                                {.match = "*norm", .kind = "full"},
                                {.match = "layers.0.*", .stop_after = 3},
                                {.match = "q_proj", .dropout = 0.0}};
    config.checkpoint.keep.last = 9;
    return config;
  }
  static void train_alone(const RunConfig& config, const TrainOptions& options = {}) {
    const std::unique_ptr<comm::Communicator> single = comm::single();
    train(config, *single, options);
  }
  static std::map<std::string, std::string> arrays_after(const RunConfig& config, std::int64_t step) {
    std::map<std::string, std::string> arrays;
    const auto folder = config.run.directory / fmt::format("checkpoints/step-{:09d}", step);
    for (const storage::StoredArray& array : storage::load_checkpoint(folder).arrays) {
      arrays[array.name].assign(reinterpret_cast<const char*>(array.bytes.data()), array.bytes.size());
    }
    return arrays;
  }
  TinyRun tiny_;
};

TEST_F(KindsTest, WhatStoppedKeepsParametersAndMomentsAndLeavesTheNorm) {
  const RunConfig config = mixed("run");
  train_alone(config, {.traced = {5, 5}, .on_progress = {}});
  const auto fourth = arrays_after(config, 4);
  const auto second = arrays_after(config, 2);
  for (const auto& [name, bytes] : arrays_after(config, 6)) {
    const bool stops = name.find("layers.0.") != std::string::npos;
    EXPECT_EQ(bytes == fourth.at(name), stops) << name;
    EXPECT_NE(fourth.at(name), second.at(name)) << name;
  }
  const auto trace = storage::SafetensorsFile::open(config.run.directory / "trace/update-000000005.safetensors");
  double squares = 0.0;
  for (const storage::TensorEntry& entry : trace->tensors()) {
    if (!entry.name.starts_with("gradient.")) {
      continue;
    }
    const auto bytes = trace->bytes(entry);
    const auto* values = reinterpret_cast<const float*>(bytes.data());
    double own = 0.0;
    for (std::size_t i = 0; i < bytes.size() / sizeof(float); ++i) {
      own += static_cast<double>(values[i]) * values[i];
    }
    EXPECT_EQ(own == 0.0, entry.name.find("layers.0.") != std::string::npos) << entry.name;
    squares += own;
  }
  const storage::TensorEntry* norm = trace->find("gradient_norm");
  ASSERT_NE(norm, nullptr);
  EXPECT_NEAR(*reinterpret_cast<const double*>(trace->bytes(*norm).data()), std::sqrt(squares),
              1e-12 * std::sqrt(squares));
}

TEST_F(KindsTest, ResumeGivesTheBitsOfAnUnbrokenRun) {
  RunConfig whole = mixed("whole");
  whole.schedule.kind = "constant";
  train_alone(whole);
  RunConfig broken = mixed("broken");
  broken.schedule.kind = "constant";
  broken.run.steps = 4;
  train_alone(broken);
  broken.run.steps = 6;
  broken.schedule.extend = "keep";
  train_alone(broken);
  EXPECT_EQ(arrays_after(whole, 6), arrays_after(broken, 6));
  EXPECT_EQ(exported_weights(whole.run.directory), exported_weights(broken.run.directory));
}

TEST_F(KindsTest, PartsThatAreDroppedAreTheSameAfterAResume) {
  const auto dropping = [&](const std::string& run, std::int64_t steps) {
    RunConfig config = tiny_.config(run);
    config.adapter.rank_dropout = 0.3;
    config.adapter.rank_dropout_scale = true;
    config.adapter.module_dropout = 0.3;
    config.run.steps = steps;
    config.schedule.kind = "constant";
    config.schedule.extend = "keep";
    return config;
  };
  train_alone(dropping("whole", 6));
  train_alone(dropping("broken", 4));
  train_alone(dropping("broken", 6));
  EXPECT_EQ(arrays_after(dropping("whole", 6), 6), arrays_after(dropping("broken", 6), 6));
}

TEST_F(KindsTest, WholeWeightsStartAsTheModel) {
  RunConfig config = tiny_.config("full");
  config.adapter.decompose.reset();
  config.adapter.kind = "full";
  config.adapter.targets = {"q_proj", "down_proj"};
  train_alone(config);
  RunConfig other = tiny_.config("lora");
  other.adapter.decompose.reset();
  train_alone(other);
  const auto first_line = [](const RunConfig& run) {
    const std::string lines = timeless_metrics(run.run.directory);
    return lines.substr(0, lines.find('\n'));
  };
  EXPECT_EQ(first_line(config), first_line(other)) << "the held-out loss before any update";
  EXPECT_THAT(exported_weights(config.run.directory), ::testing::HasSubstr("q_proj.weight"));
}

/// A change that is counted from factors of the weight: the base at the start, and its constants in every checkpoint.
TEST_F(KindsTest, FactorsOfTheWeightStartAtTheBaseAndGoOnAfterAResume) {
  const auto first_loss = [](const RunConfig& run) {
    const std::string lines = timeless_metrics(run.run.directory);
    return lines.substr(0, lines.find('\n'));
  };
  const RunConfig kaiming = tiny_.config("kaiming");
  train_alone(kaiming);
  for (const char* start : {"pissa", "pissa_fast", "olora"}) {
    const auto started = [&](const std::string& run, std::int64_t steps) {
      RunConfig config = tiny_.config(std::string(start) + run);
      config.adapter.start = start;
      config.run.steps = steps;
      config.schedule.kind = "constant";
      config.schedule.extend = "keep";
      config.checkpoint.keep.last = 9;
      config.exports[0].consumer = "merged";
      return config;
    };
    const RunConfig whole = started("whole", 6);
    train_alone(whole);
    EXPECT_EQ(first_loss(whole), first_loss(kaiming)) << "the held-out loss before any update";
    train_alone(started("broken", 4));
    train_alone(started("broken", 6));
    const auto arrays = arrays_after(whole, 6);
    EXPECT_EQ(arrays, arrays_after(started("broken", 6), 6));
    std::size_t starts = 0;
    for (const auto& [name, bytes] : arrays) {
      if (name.starts_with("starts/")) {
        ++starts;
        EXPECT_EQ(bytes, arrays_after(whole, 2).at(name)) << name;
        EXPECT_NE(bytes, arrays.at("parameters/" + name.substr(name.find('/') + 1))) << "it trains";
      }
    }
    EXPECT_GT(starts, 0U);
  }
}

/// A resumed run measures no inputs: it would find them elsewhere than where A has been trained to.
TEST_F(KindsTest, FactorsOfTheInputsStartAtTheBaseAndGoOnAfterAResume) {
  const auto started = [&](const std::string& run, const std::string& start, std::int64_t steps) {
    RunConfig config = tiny_.config(run);
    config.adapter.start = start;
    config.run.steps = steps;
    config.schedule.kind = "constant";
    config.schedule.extend = "keep";
    return config;
  };
  const auto first_loss = [](const RunConfig& run) {
    const std::string lines = timeless_metrics(run.run.directory);
    return lines.substr(0, lines.find('\n'));
  };
  const RunConfig kaiming = started("kaiming", "kaiming", 6);
  const RunConfig whole = started("whole", "eva", 6);
  train_alone(kaiming);
  train_alone(whole);
  EXPECT_EQ(first_loss(whole), first_loss(kaiming)) << "the held-out loss before any update";
  EXPECT_NE(exported_weights(whole.run.directory), exported_weights(kaiming.run.directory));
  train_alone(started("broken", "eva", 4));
  train_alone(started("broken", "eva", 6));
  EXPECT_EQ(arrays_after(whole, 6), arrays_after(started("broken", "eva", 6), 6));
  EXPECT_EQ(exported_weights(whole.run.directory), exported_weights(started("broken", "eva", 6).run.directory));
}

TEST_F(KindsTest, AddedTokensTrainAndGoOnAfterAResume) {
  for (const bool tied : {true, false}) {
    const auto with_tokens = [&](const std::string& run, std::int64_t steps) {
      RunConfig config = tiny_.config_with_added_tokens(run + (tied ? "-tied" : ""), tied);
      config.run.steps = steps;
      config.schedule.kind = "constant";
      config.schedule.extend = "keep";
      config.checkpoint.keep.last = 9;
      return config;
    };
    const RunConfig whole = with_tokens("whole", 6);
    train_alone(whole);
    train_alone(with_tokens("broken", 4));
    train_alone(with_tokens("broken", 6));
    const auto arrays = arrays_after(whole, 6);
    EXPECT_EQ(arrays, arrays_after(with_tokens("broken", 6), 6));
    EXPECT_EQ(arrays.at("parameters/model.embed_tokens.added_tokens").size(), 3U * 64U * sizeof(float));
    EXPECT_EQ(arrays.contains("parameters/lm_head.added_tokens"), !tied);
  }
}

}  // namespace
}  // namespace dormer::train
