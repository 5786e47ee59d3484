// Started by mpirun with 1, 2 and 3 ranks: every optimizer gives the bits that one rank gives alone, from its start or
// from a checkpoint.
#include <cmath>
#include <cstring>

#include <gtest/gtest.h>

#include "dormer/optim/optimizer.hpp"
#include "support/mpi_world.hpp"
#include "train/ranks_run.hpp"

namespace dormer::train {
namespace {

class EveryOptimizerOnRanks : public RanksTest, public ::testing::WithParamInterface<std::string> {
 protected:
  [[nodiscard]] RunConfig config(const std::string& run) const {
    RunConfig config = tiny_->config(run);
    config.optimizer.kind = GetParam();
    config.optimizer.learning_rate = GetParam() == "prodigy" ? 1.0 : 1e-3;
    config.schedule.kind = "constant";
    return config;
  }
};

TEST_P(EveryOptimizerOnRanks, GivesTheBitsOfOneRank) {
  train_reference(config("alone"));
  train(config("together"), testing::world());
  expect_equal_runs("alone", "together");
}

TEST_P(EveryOptimizerOnRanks, GoesOnFromAnotherNumberOfRanks) {
  train_reference(config("whole"));
  RunConfig first = config("resumed");
  first.run.steps = 4;
  train_reference(first);
  RunConfig second = config("resumed");
  second.schedule.extend = "stretch";
  train(second, testing::world());
  expect_equal_runs("whole", "resumed");
}

INSTANTIATE_TEST_SUITE_P(Train, EveryOptimizerOnRanks, ::testing::ValuesIn(optim::optimizer_registry().names()),
                         [](const auto& test) { return test.param; });

std::vector<float> numbers_of(const storage::Checkpoint& checkpoint, const std::string& name) {
  const storage::StoredArray* array = checkpoint.find(name);
  if (array == nullptr) {
    ADD_FAILURE() << "no " << name;
    return {};
  }
  std::vector<float> numbers(array->bytes.size() / sizeof(float));
  std::memcpy(numbers.data(), array->bytes.data(), array->bytes.size());
  return numbers;
}

/// The average goes on and is the same on any ranks, and is what a checkpoint gives others.
TEST_F(RanksTest, AMovingAverageIsSavedInPlaceOfWhatIsTrained) {
  const auto config = [&](const std::string& name) {
    RunConfig run = tiny_->config(name);
    run.optimizer.ema = AverageSection{.decay = 0.6, .every = 1};
    run.schedule.kind = "constant";
    return run;
  };
  train_reference(config("ema-whole"));
  RunConfig first = config("ema-resumed");
  first.run.steps = 4;
  train_reference(first);
  RunConfig second = config("ema-resumed");
  second.schedule.extend = "stretch";
  train(second, testing::world());
  expect_equal_runs("ema-whole", "ema-resumed");
  RunConfig plain = config("ema-none");
  plain.optimizer.ema.reset();
  train_reference(plain);
  if (testing::world().rank() != 0) {
    return;
  }
  const storage::Checkpoint averaged = newest_checkpoint(config("ema-whole").run.directory);
  const storage::Checkpoint trained = newest_checkpoint(plain.run.directory);
  for (const storage::StoredArray& array : trained.arrays) {
    if (!array.name.starts_with("parameters/")) {
      continue;
    }
    const std::string name = array.name.substr(std::string("parameters/").size());
    EXPECT_EQ(numbers_of(averaged, "moments/trained/" + name), numbers_of(trained, array.name)) << name;
    EXPECT_EQ(numbers_of(averaged, "moments/average/" + name), numbers_of(averaged, array.name)) << name;
    EXPECT_NE(numbers_of(averaged, array.name), numbers_of(trained, array.name)) << name;
  }
}

/// What is validated, exported and read from a checkpoint is the average; what goes on is beside it.
TEST_F(RanksTest, AScheduleFreeRunSavesItsAverage) {
  RunConfig config = tiny_->config("averaged");
  config.optimizer.kind = "schedule_free_adamw";
  config.schedule.kind = "constant";
  train(config, testing::world());
  if (testing::world().rank() != 0) {
    return;
  }
  const storage::Checkpoint checkpoint = newest_checkpoint(config.run.directory);
  std::size_t differing = 0;
  for (const storage::StoredArray& array : checkpoint.arrays) {
    if (!array.name.starts_with("parameters/")) {
      continue;
    }
    const std::string name = array.name.substr(std::string("parameters/").size());
    const std::vector<float> average = numbers_of(checkpoint, array.name);
    const std::vector<float> trained = numbers_of(checkpoint, "moments/trained/" + name);
    const std::vector<float> base = numbers_of(checkpoint, "moments/base/" + name);
    ASSERT_EQ(average.size(), trained.size());
    ASSERT_EQ(average.size(), base.size());
    for (std::size_t i = 0; i < average.size(); ++i) {
      // y = (1 - beta1) z + beta1 x, up to a few roundings of numbers of this size.
      ASSERT_NEAR(trained[i], 0.1F * base[i] + 0.9F * average[i], 0x1p-22 * (std::abs(base[i]) + std::abs(average[i])))
          << name << " " << i;
      differing += trained[i] != average[i] ? 1U : 0U;
    }
  }
  EXPECT_GT(differing, 100U);
}

}  // namespace
}  // namespace dormer::train
