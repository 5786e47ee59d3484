#include <algorithm>
#include <array>
#include <filesystem>
#include <map>
#include <optional>
#include <utility>

#include <gmock/gmock.h>

#include "dormer/comm/single.hpp"
#include "dormer/core/error.hpp"
#include "dormer/tensor/memory.hpp"
#include "dormer/tensor/process.hpp"
#include "dormer/train/run.hpp"
#include "dormer/train/run_plan.hpp"
#include "dormer/train/shared_bases.hpp"
#include "train/tiny_run.hpp"

namespace dormer::train {
namespace {

using ::testing::HasSubstr;

std::vector<LaneOutcome> train_together(const std::vector<RunConfig>& configs, const TrainOptions& options = {}) {
  const std::unique_ptr<comm::Communicator> communicator = comm::single();
  return train_pack(configs, *communicator, options);
}

/// Eight trials that differ in everything that a pack may differ in.
class PackTest : public ::testing::Test {
 protected:
  static constexpr int kTrials = 8;

  [[nodiscard]] RunConfig trial(int number, const std::string& group) const {
    RunConfig config = tiny_.config(fmt::format("{}-{}", group, number));
    config.run.seed = 3 + number;
    config.optimizer.learning_rate *= 1.0 + number;
    config.adapter.rank = std::array{1, 64, 16, 4, 8, 32, 3, 17}.at(static_cast<std::size_t>(number));
    if (number == 1) {
      config.adapter.targets = {"*.mlp.*"};  // the others are narrower than its rank
    }
    config.adapter.alpha.text = fmt::format("{}", 2 * config.adapter.rank);
    config.adapter.kind =
        std::array{"lora", "lora", "lora", "loha", "lokr", "lora", "full", "lora"}.at(static_cast<std::size_t>(number));
    config.adapter.decompose.reset();
    if (number != 2 && number != 6) {
      config.adapter.decompose.emplace();
      config.adapter.decompose->axis = number % 2 == 0 ? "output" : "input";
    }
    if (number == 7) {
      config.adapter.dropout = 0.25;
    }
    if (number == 5) {
      config.schedule.kind = "constant";
      config.optimizer.max_gradient_norm = 0.01;
    }
    config.exports.clear();
    return config;
  }
  [[nodiscard]] std::filesystem::path run(const std::string& group, int number) const {
    return tiny_.folder() / fmt::format("{}-{}", group, number);
  }
  void train_alone(int number) const {
    const std::unique_ptr<comm::Communicator> communicator = comm::single();
    static_cast<void>(train(trial(number, "alone"), *communicator));
  }
  void expect_equal(const std::string& group, int number) const {
    EXPECT_EQ(newest_arrays(run(group, number)), newest_arrays(run("alone", number))) << group << ", trial " << number;
    EXPECT_EQ(timeless_metrics(run(group, number)), timeless_metrics(run("alone", number))) << group << " " << number;
  }

  TinyRun tiny_;
};

#ifdef __SANITIZE_THREAD__  // which sees no barrier of an OpenMP that was built without it
constexpr std::array kThreads{1};
#else
constexpr std::array kThreads{1, 2};
#endif

TEST_F(PackTest, EveryTrialHasTheBytesOfItsRunAlone) {
  for (const int threads : kThreads) {
    const std::string alone = "alone";
    for (int number = 0; number < kTrials; ++number) {
      std::filesystem::remove_all(run(alone, number));
      RunConfig config = trial(number, alone);
      config.run.threads = threads;
      const std::unique_ptr<comm::Communicator> communicator = comm::single();
      static_cast<void>(train(config, *communicator));
    }
    for (const std::vector<int>& order :
         std::vector<std::vector<int>>{{0, 1}, {7, 2, 5, 3}, {0, 1, 2, 3, 4, 5, 6, 7}, {6, 0, 7, 4, 2, 5, 1, 3}}) {
      const std::string group = fmt::format("pack-{}-{}-{}", threads, order.size(), order.front());
      std::vector<RunConfig> configs;
      SharedBases bases;
      for (const int number : order) {
        configs.push_back(trial(number, group));
        configs.back().run.threads = threads;
      }
      for (const LaneOutcome& outcome : train_together(configs, {.bases = &bases})) {
        ASSERT_TRUE(outcome.result) << outcome.message;
        EXPECT_EQ(outcome.result->outcome, Outcome::kFinished);
      }
      for (const int number : order) {
        expect_equal(group, number);
      }
    }
  }
}

TEST_F(PackTest, TrialsShareOneModel) {
  SharedBases bases;
  int loads = 0;
  const auto load = [&]() -> SharedBases::Model {
    ++loads;
    return nullptr;
  };
  static_cast<void>(bases.model("one", load));
  static_cast<void>(bases.model("one", load));
  EXPECT_EQ(loads, 1);
}

TEST_F(PackTest, ANeighbourThatOverflowsEndsAlone) {
  train_alone(0);
  train_alone(3);
  RunConfig wild = trial(2, "wild");  // without magnitudes, which would hold it
  wild.optimizer.learning_rate = 1e30;
  wild.optimizer.max_gradient_norm.reset();
  SharedBases bases;
  const std::vector<LaneOutcome> outcomes =
      train_together({trial(0, "beside"), wild, trial(3, "beside")}, {.bases = &bases});
  EXPECT_FALSE(outcomes[1].result);
  EXPECT_EQ(outcomes[1].fault, Fault::kNumerical);
  EXPECT_THAT(outcomes[1].message, HasSubstr("nothing was changed"));
  ASSERT_TRUE(outcomes[0].result && outcomes[2].result);
  expect_equal("beside", 0);
  expect_equal("beside", 3);
}

TEST_F(PackTest, APauseDoesNotShowAndNeighboursMayChange) {
  for (const int number : {0, 2, 5}) {
    train_alone(number);
  }
  SharedBases bases;
  const TrainOptions first{.until = 2, .bases = &bases};
  for (const LaneOutcome& outcome : train_together({trial(0, "paused"), trial(2, "paused")}, first)) {
    ASSERT_TRUE(outcome.result) << outcome.message;
    EXPECT_EQ(outcome.result->outcome, Outcome::kPaused);
    EXPECT_EQ(outcome.result->step, 2);
    EXPECT_TRUE(outcome.result->last_validation_loss);
  }
  // Asked again where it is already: it says what it knows, and does nothing.
  const std::vector<LaneOutcome> again = train_together({trial(0, "paused")}, first);
  EXPECT_EQ(again[0].result.value().outcome, Outcome::kPaused);
  EXPECT_EQ(again[0].result->first_step, 2);
  for (const LaneOutcome& outcome :
       train_together({trial(2, "paused"), trial(5, "paused"), trial(0, "paused")}, {.bases = &bases})) {
    ASSERT_TRUE(outcome.result) << outcome.message;
    EXPECT_EQ(outcome.result->outcome, Outcome::kFinished);
  }
  for (const int number : {0, 2, 5}) {
    expect_equal("paused", number);
  }
}

/// Gives runs, at most so many at once, and keeps what came of them.
class Runs final : public PackSource {
 public:
  Runs(std::vector<PackedRun> runs, std::size_t width) : runs_(std::move(runs)), width_(width) {}

  std::vector<PackedRun> join(const PackTurn& turn) override {
    most_ = std::max(most_, turn.active);
    EXPECT_LE(turn.updated, width_);
    EXPECT_EQ(turn.samples > 0, turn.updated > 0);
    std::vector<PackedRun> joining;
    while (turn.active + joining.size() < width_ && next_ < runs_.size()) {
      joining.push_back(runs_[next_++]);
    }
    return joining;
  }
  bool goes_on(std::size_t lane) override { return lane != stopped_; }
  void check_inputs(std::size_t lane, const std::map<std::string, std::string>& fingerprint) override {
    require(lane != refused_, Fault::kUsage, "{} is another one", fingerprint.at("model").empty() ? "" : "model");
  }
  void ended(std::size_t lane, const LaneOutcome& outcome) override {
    EXPECT_GT(outcome.seconds, 0.0);
    order_.push_back(lane);
    outcomes_[lane] = outcome;
  }

  std::vector<PackedRun> runs_;
  std::size_t width_;
  std::size_t next_ = 0;
  std::size_t most_ = 0;
  std::optional<std::size_t> stopped_;
  std::optional<std::size_t> refused_;
  std::vector<std::size_t> order_;
  std::map<std::size_t, LaneOutcome> outcomes_;
};

TEST_F(PackTest, ALaneThatIsFreeIsTakenAtOnce) {
  const std::vector<int> numbers{0, 2, 3, 5, 7};
  std::vector<PackedRun> runs;
  for (const int number : numbers) {
    train_alone(number);
    runs.push_back({trial(number, "fed")});
  }
  runs[1].until = 1;  // its place is free long before the others'
  Runs source(std::move(runs), 2);
  SharedBases bases;
  const std::unique_ptr<comm::Communicator> communicator = comm::single();
  train_pack(source, *communicator, {.bases = &bases});
  EXPECT_EQ(source.most_, 2U);
  EXPECT_EQ(source.order_, (std::vector<std::size_t>{1, 0, 2, 3, 4}));
  EXPECT_EQ(source.outcomes_.at(1).result.value().outcome, Outcome::kPaused);
  EXPECT_EQ(source.outcomes_.at(1).result->step, 1);
  for (const std::size_t lane : {std::size_t{0}, std::size_t{2}, std::size_t{3}, std::size_t{4}}) {
    ASSERT_TRUE(source.outcomes_.at(lane).result) << source.outcomes_.at(lane).message;
    expect_equal("fed", numbers[lane]);
  }
}

TEST_F(PackTest, ARunWhoseInputsAreRefusedEndsAndTheOthersGoOn) {
  train_alone(3);
  Runs source({{trial(0, "refused")}, {trial(3, "refused")}, {trial(5, "refused")}}, 2);
  source.refused_ = 0;
  source.stopped_ = 2;
  const std::unique_ptr<comm::Communicator> communicator = comm::single();
  train_pack(source, *communicator);
  EXPECT_FALSE(source.outcomes_.at(0).result);
  EXPECT_EQ(source.outcomes_.at(0).fault, Fault::kUsage);
  EXPECT_THAT(source.outcomes_.at(0).message, HasSubstr("model is another one"));
  EXPECT_EQ(source.outcomes_.at(2).result.value().step, 1);
  expect_equal("refused", 3);
}

TEST_F(PackTest, AnOddUpdateMeasuresWhereItPauses) {
  RunConfig config = trial(0, "odd");
  config.validation.every = config::Cadence::never();
  const std::vector<LaneOutcome> outcomes = train_together({config}, {.until = 3});
  EXPECT_EQ(outcomes[0].result.value().step, 3);
  EXPECT_TRUE(outcomes[0].result->last_validation_loss);
}

TEST_F(PackTest, ALaneThatShallNotGoOnIsSavedAndTheOthersGoOn) {
  train_alone(1);
  SharedBases bases;
  const std::vector<LaneOutcome> outcomes =
      train_together({trial(0, "dropped"), trial(1, "dropped")},
                     {.bases = &bases, .goes_on = [](std::size_t lane) { return lane != 0; }});
  EXPECT_EQ(outcomes[0].result.value().outcome, Outcome::kPaused);
  EXPECT_EQ(outcomes[0].result->step, 1);
  EXPECT_EQ(outcomes[1].result.value().outcome, Outcome::kFinished);
  expect_equal("dropped", 1);
}

TEST_F(PackTest, EightTakeTheMemoryThatIsPlanned) {
  tensor::configure_process(1);
  std::vector<RunConfig> configs;
  std::vector<RankMemory> planned;
  for (int number = 0; number < kTrials; ++number) {
    RunConfig config = trial(number == 6 ? 2 : number, fmt::format("measured-{}", number));  // 6 trains whole weights
    config.batch.micro = 8;
    config.data.sequence_length = 64;
    config.run.steps = 2;
    planned.push_back(plan_run(config, {.ranks = 1}).ranks.front().memory);
    configs.push_back(std::move(config));
  }
  const std::int64_t before = tensor::memory_use().live;
  tensor::reset_peak_memory();
  {
    SharedBases bases;
    for (const LaneOutcome& outcome : train_together(configs, {.bases = &bases})) {
      ASSERT_TRUE(outcome.result) << outcome.message;
    }
  }
  const auto measured = static_cast<double>(tensor::memory_use().peak - before);
  const auto plan = static_cast<double>(pack_memory(planned).tensors);
  fmt::print("planned {:.0f} bytes, measured {:.0f} ({:.3f})\n", plan, measured, plan / measured);
  EXPECT_NEAR(plan, measured, 0.1 * measured);
}

TEST_F(PackTest, ABareRunLeavesMetricsAndCheckpoints) {
  train_alone(4);
  const std::vector<LaneOutcome> outcomes = train_together({trial(4, "bare")}, {.bare = true});
  ASSERT_TRUE(outcomes[0].result) << outcomes[0].message;
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(run("bare", 4))) {
    names.push_back(entry.path().filename());
  }
  std::ranges::sort(names);
  EXPECT_EQ(names, (std::vector<std::string>{"checkpoints", "metrics.jsonl", "run.lock"}));
  EXPECT_EQ(newest_arrays(run("bare", 4)), newest_arrays(run("alone", 4)));
}

}  // namespace
}  // namespace dormer::train
