// Started by mpirun with 1, 2, 3 and 4 ranks: every number of ranks must give the bits that one rank gives alone.
#include <ATen/core/Tensor.h>
#include <gmock/gmock.h>

#include "dormer/comm/single.hpp"
#include "dormer/comm/traced.hpp"
#include "dormer/core/atomic_file.hpp"
#include "dormer/parallel/plan.hpp"
#include "dormer/train/evaluate.hpp"
#include "dormer/train/run.hpp"
#include "support/mpi_world.hpp"
#include "train/ranks_run.hpp"
#include "train/trace_file.hpp"
#include "train/trial.hpp"

namespace dormer::train {
namespace {

TEST_F(RanksTest, GiveTheBitsOfOneRank) {
  train_reference(tiny_->config("alone"));
  train(tiny_->config("together"), testing::world());
  expect_equal_runs("alone", "together");
}

TEST_F(RanksTest, GiveTheBitsOfOneRankWithoutSharding) {
  train_reference(tiny_->config("alone"));
  RunConfig config = tiny_->config("whole");
  config.parallel.shard_optimizer = false;
  train(config, testing::world());
  expect_equal_runs("alone", "whole");
}

TEST_F(RanksTest, GiveTheBitsOfOneRankWithUnevenLeaves) {
  RunConfig alone = tiny_->config("alone");
  alone.batch.global = 10;
  RunConfig together = tiny_->config("together");
  together.batch.global = 10;  // five micro-batches
  train_reference(alone);
  train(together, testing::world());
  expect_equal_runs("alone", "together");
}

TEST_F(RanksTest, DropTheSameInputsWithAndWithoutRecomputation) {
  RunConfig alone = tiny_->config("alone");
  alone.adapter.dropout = 0.25;
  RunConfig together = tiny_->config("together");
  together.adapter.dropout = 0.25;
  together.run.recompute = true;
  train_reference(alone);
  train(together, testing::world());
  expect_equal_runs("alone", "together");
  train_reference(tiny_->config("undropped"));
  if (testing::world().rank() == 0) {
    EXPECT_NE(newest_arrays(tiny_->folder() / "alone"), newest_arrays(tiny_->folder() / "undropped"));
  }
}

/// Rows of changes and whole layers, and a layer that has its own rates.
TEST_F(RanksTest, DropTheSamePartsWithAndWithoutRecomputation) {
  const auto dropping = [&](const std::string& run) {
    RunConfig config = tiny_->config(run);
    config.adapter.rank_dropout = 0.3;
    config.adapter.module_dropout = 0.3;
    config.adapter.overrides = {{.match = "q_proj", .rank_dropout = 0.0, .module_dropout = 0.0}};
    return config;
  };
  train_reference(dropping("alone"));
  RunConfig together = dropping("together");
  together.run.recompute = true;
  train(together, testing::world());
  expect_equal_runs("alone", "together");
  train_reference(tiny_->config("undropped"));
  if (testing::world().rank() == 0) {
    EXPECT_NE(newest_arrays(tiny_->folder() / "alone"), newest_arrays(tiny_->folder() / "undropped"));
  }
}

TEST_F(RanksTest, TrainWholeWeightsAndStopAlike) {
  const auto mixed = [&](const std::string& run) {
    RunConfig config = tiny_->config(run);
    config.adapter.overrides = {{.match = "down_proj", .kind = "full"}, {.match = "layers.0.*", .stop_after = 3}};
    return config;
  };
  train_reference(mixed("alone"));
  train(mixed("together"), testing::world());
  expect_equal_runs("alone", "together");
}

TEST_F(RanksTest, TrainWhatIsBesideTheLinearLayersAlike) {
  for (const bool whole : {true, false}) {
    const auto beside = [&](const std::string& run) {
      RunConfig config = tiny_->config(run + (whole ? "-whole" : "-adapted"));
      config.adapter.targets = {"all-linear", "embed_tokens", "lm_head", "*norm"};
      config.adapter.overrides = {{.match = "lm_head", .kind = "full"}, {.match = "*norm", .kind = "full"}};
      if (whole) {
        config.adapter.overrides.push_back({.match = "embed_tokens", .kind = "full"});
      }
      return config;
    };
    const std::string suffix = whole ? "-whole" : "-adapted";
    train_reference(beside("alone"));
    RunConfig together = beside("together");
    together.run.recompute = true;
    train(together, testing::world());
    expect_equal_runs("alone" + suffix, "together" + suffix);
  }
}

TEST_F(RanksTest, StartFromTheWeightAlike) {
  const auto started = [&](const std::string& run) {
    RunConfig config = tiny_->config(run);
    config.adapter.start = "pissa_fast";
    config.exports.clear();
    return config;
  };
  train_reference(started("alone"));
  train(started("together"), testing::world());
  if (testing::world().rank() == 0) {
    EXPECT_EQ(newest_arrays(tiny_->folder() / "alone"), newest_arrays(tiny_->folder() / "together"));
    EXPECT_NE(newest_arrays(tiny_->folder() / "alone").find("starts/"), std::string::npos);
  }
}

TEST_F(RanksTest, StartFromTheInputsAlike) {
  for (const bool added_tokens : {false, true}) {
    const std::string suffix = added_tokens ? "-added" : "";
    const auto started = [&](const std::string& run) {
      RunConfig config =
          added_tokens ? tiny_->config_with_added_tokens(run + suffix, true) : tiny_->config(run + suffix);
      config.adapter.start = "eva";
      config.adapter.start_samples = 5;
      return config;
    };
    train_reference(started("alone"));
    train(started("together"), testing::world());
    expect_equal_runs("alone" + suffix, "together" + suffix);
  }
}

TEST_F(RanksTest, TrainAddedTokensAlike) {
  for (const bool tied : {true, false}) {
    const std::string suffix = tied ? "-tied" : "-separate";
    train_reference(tiny_->config_with_added_tokens("alone" + suffix, tied));
    RunConfig together = tiny_->config_with_added_tokens("together" + suffix, tied);
    together.run.recompute = true;
    train(together, testing::world());
    expect_equal_runs("alone" + suffix, "together" + suffix);
  }
}

TEST_F(RanksTest, GoOnFromAnotherNumberOfRanks) {
  train_reference(tiny_->config("alone"));
  RunConfig first = tiny_->config("resumed");
  first.run.steps = 4;
  first.schedule.kind = "constant";
  RunConfig second = tiny_->config("resumed");
  second.schedule.kind = "constant";
  second.schedule.extend = "stretch";
  RunConfig whole = tiny_->config("whole");
  whole.schedule.kind = "constant";
  train_reference(whole);
  train_reference(first);
  train(second, testing::world());
  expect_equal_runs("whole", "resumed");
}

TEST_F(RanksTest, MeasureTheSameHeldOutLoss) {
  const RunConfig config = tiny_->config("alone");
  train_reference(config);
  const Evaluation together =
      evaluate(config, testing::world(), {.adapter = config.run.directory / "export/peft", .samples = {}});
  if (testing::world().rank() == 0) {
    const std::unique_ptr<comm::Communicator> single = comm::single();
    EXPECT_EQ(together.loss,
              evaluate(config, *single, {.adapter = config.run.directory / "export/peft", .samples = {}}).loss);
    EXPECT_THAT(timeless_metrics(config.run.directory),
                ::testing::HasSubstr(fmt::format("\"validation_loss\":{}}}", together.loss)));
  }
  EXPECT_EQ(together.targets, 9 * 16);
}

TEST_F(RanksTest, HoldTheirShareOfTheMoments) {
  const auto ranks = static_cast<std::size_t>(testing::world().size());
  const TrainResult sharded = train(tiny_->config("sharded"), testing::world());
  RunConfig config = tiny_->config("whole");
  config.parallel.shard_optimizer = false;
  const TrainResult whole = train(config, testing::world());
  const std::size_t block = 2 * sizeof(float) * static_cast<std::size_t>(parallel::kNormBlock);
  EXPECT_LE(sharded.state_bytes, whole.state_bytes / ranks + block) << "at most a norm block above the even share";
  EXPECT_GE(sharded.state_bytes + block, whole.state_bytes / ranks);
  EXPECT_GE(whole.state_bytes, 2 * sizeof(float) * static_cast<std::size_t>(whole.trainable_parameters));
}

TEST_F(RanksTest, MoveTheBytesOfTheFormula) {
  for (const char* reduction : {"exact", "fast"}) {
    for (const bool sharded : {true, false}) {
      RunConfig config = tiny_->config();
      config.parallel = {.reduction = reduction, .shard_optimizer = sharded};
      comm::Trace trace;
      const auto traced = comm::traced(testing::borrowed(testing::world()), trace);
      TrialSetup setup(config, *traced);
      for (std::int64_t step = 0; step < 2; ++step) {
        trace = {};
        setup.trial.update(setup.inputs(step), nullptr);
        const comm::Trace expected = parallel::bytes_per_update(setup.trial.plan(), traced->rank());
        EXPECT_EQ(trace.operations, expected.operations)
            << reduction << (sharded ? ", sharded" : ", not sharded") << ", update " << step;
      }
    }
  }
}

TEST_F(RanksTest, FastSendsItsBucketsBeforeTheLastBackwardPassEnds) {
  for (const bool recompute : {false, true}) {
    RunConfig config = tiny_->config();
    config.run.recompute = recompute;
    config.parallel.reduction = "fast";
    comm::Trace sent;
    const auto traced = comm::traced(testing::borrowed(testing::world()), sent);
    TrialSetup setup(config, *traced);
    std::vector<std::int64_t> at_end;  // buckets that were gone when each micro-batch's backward pass ended
    UpdateTrace trace;
    trace.backward_ended = [&] { at_end.push_back(sent.of(comm::Operation::kReduceScatter).calls); };
    setup.trial.update(setup.inputs(0), &trace);
    const std::int64_t buckets = std::ssize(setup.trial.plan().buckets);
    EXPECT_GT(buckets, 4) << "else this shows little";
    std::vector<std::int64_t> expected(at_end.size(), 0);
    expected.back() = testing::world().size() > 1 ? buckets : 0;
    EXPECT_EQ(at_end, expected);
  }
}

TEST_F(RanksTest, AFailureAmongTheBucketsOfOneRankIsTheErrorOfAll) {
  if (testing::world().size() == 1) {
    return;  // no buckets are sent
  }
  for (const bool sharded : {true, false}) {
    RunConfig config = tiny_->config();
    config.parallel = {.reduction = "fast", .shard_optimizer = sharded};
    const auto failing = std::make_unique<FailingCommunicator>(testing::world(), /*rank=*/1, /*call=*/3);
    TrialSetup setup(config, *failing);
    setup.trial.update(setup.inputs(0), nullptr);  // a good one first: its buffers are used again
    const at::Tensor before = setup.trial.adapters().space().values().clone();
    failing->arm();
    try {
      setup.trial.update(setup.inputs(1), nullptr);
      ADD_FAILURE() << "the failure was not noticed on rank " << testing::world().rank();
    } catch (const Error& error) {
      EXPECT_EQ(error.fault(), Fault::kIo);
      EXPECT_STREQ(error.what(), "the third bucket of rank 1");
    }
    EXPECT_TRUE(before.equal(setup.trial.adapters().space().values())) << "parameters as they were";
  }
}

TEST_F(RanksTest, FastAgreesWithExact) {
  struct Case {
    const char* name;
    bool sharded;
    bool recompute;
  };
  RunConfig exact = tiny_->config("exact");
  exact.run.steps = 20;
  train_reference(exact);
  for (const Case& one : {Case{"sharded", true, false}, Case{"whole", false, false}, Case{"recomputed", true, true}}) {
    RunConfig fast = exact;
    fast.run.directory = tiny_->folder() / one.name;
    fast.run.recompute = one.recompute;
    fast.parallel = {.reduction = "fast", .shard_optimizer = one.sharded};
    train(fast, testing::world());
    if (testing::world().rank() == 0) {
      expect_close_runs(exact.run.directory, fast.run.directory);
    }
    testing::world().barrier();
  }
}

}  // namespace
}  // namespace dormer::train
