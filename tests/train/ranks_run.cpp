#include "train/ranks_run.hpp"

#include <cmath>
#include <sstream>

#include <nlohmann/json.hpp>

#include "dormer/comm/single.hpp"
#include "dormer/core/atomic_file.hpp"
#include "support/mpi_world.hpp"
#include "train/agreement.hpp"

namespace dormer::train {
namespace {

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

}  // namespace

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

void expect_close_runs(const std::filesystem::path& exact, const std::filesystem::path& fast) {
  const std::vector<double> expected = losses(exact);
  const std::vector<double> actual = losses(fast);
  ASSERT_EQ(actual.size(), 20U);
  for (std::size_t step = 0; step < 20; ++step) {
    EXPECT_NEAR(actual[step], expected[step], 1e-6 * expected[step]) << "update " << step + 1;
  }
  EXPECT_LT(relative_difference(fast, exact), 1e-6);
}

void RanksTest::SetUp() {
  const std::string folder = agree_on_text(testing::world(), [&] {
    own_.emplace();
    TinyRun::prepare(own_->path());
    return own_->path().string();
  });
  tiny_ = std::make_unique<TinyRun>(folder);
}

void RanksTest::TearDown() {
  testing::world().barrier();
}

void RanksTest::train_reference(const RunConfig& config) {
  if (testing::world().rank() == 0) {
    const std::unique_ptr<comm::Communicator> single = comm::single();
    train(config, *single);
  }
  testing::world().barrier();
}

void RanksTest::expect_equal_runs(const std::string& a, const std::string& b) const {
  if (testing::world().rank() == 0) {
    EXPECT_EQ(newest_arrays(tiny_->folder() / a), newest_arrays(tiny_->folder() / b));
    EXPECT_EQ(exported_weights(tiny_->folder() / a), exported_weights(tiny_->folder() / b));
    EXPECT_EQ(timeless_metrics(tiny_->folder() / a), timeless_metrics(tiny_->folder() / b));
  }
  testing::world().barrier();
}

}  // namespace dormer::train
