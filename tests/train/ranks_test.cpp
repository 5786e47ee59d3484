// Started by mpirun with 1, 2, 3 and 4 ranks: every number of ranks must give the bits that one rank gives alone.
#include <cmath>
#include <cstdlib>
#include <sstream>

#include <ATen/core/Tensor.h>
#include <gmock/gmock.h>
#include <nlohmann/json.hpp>

#include "dormer/comm/single.hpp"
#include "dormer/comm/traced.hpp"
#include "dormer/core/atomic_file.hpp"
#include "dormer/parallel/plan.hpp"
#include "dormer/train/evaluate.hpp"
#include "dormer/train/run.hpp"
#include "support/borrowed_communicator.hpp"
#include "support/mpi_world.hpp"
#include "train/agreement.hpp"
#include "train/tiny_run.hpp"
#include "train/trace_file.hpp"
#include "train/trial.hpp"

namespace dormer::train {
namespace {

/// What updates need beside the trial that is tested.
struct TrialSetup {
  TrialSetup(const RunConfig& run_config, comm::Communicator& communicator)
      : config(run_config),
        model(model::load_language_model(config.model.path, DType::kF32)),
        data(config.data.train, {.sequence_length = 16, .model_vocabulary = 256, .tokenizer_sha256 = {}}),
        order(data.samples(), RandomKey{7}, true),
        trial(config, *model, {.total = 6, .warmup = 2}, communicator) {}

  [[nodiscard]] UpdateInputs inputs(std::int64_t step) const {
    return {.model = *model, .data = data, .order = order, .step = step, .position = step * 8, .seconds = 0.0};
  }

  RunConfig config;
  std::unique_ptr<model::LanguageModel> model;
  data::TokenDataset data;
  data::SampleOrder order;
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

std::vector<double> losses(const std::filesystem::path& run) {
  std::vector<double> result;
  std::istringstream lines(read_file(run / "metrics.jsonl", "metrics"));
  for (std::string line; std::getline(lines, line);) {
    const nlohmann::json object = nlohmann::json::parse(line);
    if (object.contains("loss")) {
      result.push_back(object["loss"].get<double>());
    }
  }
  return result;
}

/// |a - b| / |b| over all trained parameters.
double relative_difference(const std::filesystem::path& a, const std::filesystem::path& b) {
  const storage::Checkpoint first = newest_checkpoint(a);
  const storage::Checkpoint second = newest_checkpoint(b);
  double difference = 0.0;
  double size = 0.0;
  for (const storage::StoredArray& array : second.arrays) {
    if (!array.name.starts_with("parameters/")) {
      continue;
    }
    const auto* expected = reinterpret_cast<const float*>(array.bytes.data());
    const auto* actual = reinterpret_cast<const float*>(first.find(array.name)->bytes.data());
    for (std::size_t i = 0; i < array.bytes.size() / sizeof(float); ++i) {
      difference += std::pow(double{actual[i]} - double{expected[i]}, 2.0);
      size += std::pow(double{expected[i]}, 2.0);
    }
  }
  return std::sqrt(difference / size);
}

/// Every update's loss and the trained parameters of two runs of 20 updates, within 1e-6 of their size. Sums in another
/// order differ by a few units of 2^-24 = 6e-8.
void expect_close_runs(const std::filesystem::path& exact, const std::filesystem::path& fast) {
  const std::vector<double> expected = losses(exact);
  const std::vector<double> actual = losses(fast);
  ASSERT_EQ(actual.size(), 20U);
  for (std::size_t step = 0; step < 20; ++step) {
    EXPECT_NEAR(actual[step], expected[step], 1e-6 * expected[step]) << "update " << step + 1;
  }
  EXPECT_LT(relative_difference(fast, exact), 1e-6);
}

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
