// Started by mpirun with 1, 2, 3 and 4 ranks: every number of ranks must give the bits that one rank gives alone.
#include <cstdlib>

#include <gmock/gmock.h>

#include "dormer/comm/single.hpp"
#include "dormer/comm/traced.hpp"
#include "dormer/parallel/plan.hpp"
#include "dormer/train/evaluate.hpp"
#include "dormer/train/run.hpp"
#include "support/borrowed_communicator.hpp"
#include "support/mpi_world.hpp"
#include "train/agreement.hpp"
#include "train/tiny_run.hpp"
#include "train/trial.hpp"

namespace dormer::train {
namespace {

/// One folder for all ranks; rank 0 makes and removes it.
class RanksTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const std::string folder = agree_on_text(testing::world(), [&] {
      own_.emplace();
      TinyRun::prepare(own_->path());
      return own_->path().string();
    });
    tiny_ = std::make_unique<TinyRun>(folder);
  }
  void TearDown() override { testing::world().barrier(); }

  /// What one rank gets that trains alone in the folder `alone`.
  void train_reference(const RunConfig& config) const {
    if (testing::world().rank() == 0) {
      const std::unique_ptr<comm::Communicator> single = comm::single();
      train(config, *single);
    }
    testing::world().barrier();
  }

  void expect_equal_runs(const std::string& a, const std::string& b) const {
    if (testing::world().rank() == 0) {
      EXPECT_EQ(newest_arrays(tiny_->folder() / a), newest_arrays(tiny_->folder() / b));
      EXPECT_EQ(exported_weights(tiny_->folder() / a), exported_weights(tiny_->folder() / b));
      EXPECT_EQ(timeless_metrics(tiny_->folder() / a), timeless_metrics(tiny_->folder() / b));
    }
    testing::world().barrier();
  }

  std::unique_ptr<TinyRun> tiny_;

 private:
  std::optional<test::TempDirectory> own_;
};

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
  for (const bool sharded : {true, false}) {
    RunConfig config = tiny_->config();
    config.parallel.shard_optimizer = sharded;
    comm::Trace trace;
    const std::unique_ptr<comm::Communicator> traced =
        comm::traced(std::make_unique<testing::BorrowedCommunicator>(testing::world()), trace);
    const auto model = model::load_language_model(config.model.path, DType::kF32);
    const data::TokenDataset data(config.data.train,
                                  {.sequence_length = 16, .model_vocabulary = 256, .tokenizer_sha256 = {}});
    const data::SampleOrder order(data.samples(), RandomKey{7}, true);
    Trial trial(config, *model, {.total = 6, .warmup = 2}, *traced);
    for (std::int64_t step = 0; step < 2; ++step) {
      trace = {};
      trial.update({.model = *model, .data = data, .order = order, .step = step, .position = step * 8, .seconds = 0.0},
                   nullptr);
      const comm::Trace expected = parallel::bytes_per_update(trial.plan(), traced->rank());
      EXPECT_EQ(trace.operations, expected.operations) << (sharded ? "sharded" : "not sharded") << ", update " << step;
    }
  }
}

}  // namespace
}  // namespace dormer::train
