#include "dormer/report/metrics_writer.hpp"

#include <fstream>
#include <limits>

#include <gmock/gmock.h>

#include "dormer/core/atomic_file.hpp"
#include "dormer/core/error.hpp"
#include "support/temp_directory.hpp"

namespace dormer::report {
namespace {

using dormer::test::TempDirectory;

constexpr std::int64_t kEverything = std::numeric_limits<std::int64_t>::max();

void write_steps(MetricsWriter& writer, std::int64_t first, std::int64_t last) {
  for (std::int64_t step = first; step <= last; ++step) {
    const std::vector<Metric> metrics{{"loss", 0.1 * static_cast<double>(step)}, {"samples", step * 8}};
    writer.write(step, metrics);
  }
}

TEST(MetricsWriter, WritesOneObjectALineWithShortestDoubles) {
  const TempDirectory folder;
  MetricsWriter writer(folder.path() / "metrics.jsonl", -1);
  const std::vector<Metric> metrics{
      {"loss", 0.1}, {"tokens", std::int64_t{1024}}, {"odd", std::numeric_limits<double>::infinity()}};
  writer.write(1, metrics);
  writer.sync();
  EXPECT_EQ(read_file(folder.path() / "metrics.jsonl", "metrics"),
            "{\"step\":1,\"loss\":0.1,\"tokens\":1024,\"odd\":null}\n");
}

TEST(MetricsWriter, AResumedRunLeavesNeitherGapsNorDuplicates) {
  const TempDirectory folder;
  std::string uninterrupted;
  {
    MetricsWriter writer(folder.path() / "whole.jsonl", -1);
    write_steps(writer, 1, 6);
    uninterrupted = read_file(folder.path() / "whole.jsonl", "metrics");
  }
  {
    MetricsWriter(folder.path() / "metrics.jsonl", -1)
        .write(1, std::vector<Metric>{{"loss", 0.1}, {"samples", std::int64_t{8}}});
  }
  {
    MetricsWriter writer(folder.path() / "metrics.jsonl", kEverything);
    EXPECT_EQ(writer.last_step(), 1);
    write_steps(writer, 2, 5);
  }
  std::ofstream(folder.path() / "metrics.jsonl", std::ios::app) << "{\"step\":6,\"lo";  // killed inside a write
  {
    MetricsWriter writer(folder.path() / "metrics.jsonl", 3);
    EXPECT_EQ(writer.last_step(), 3);
    write_steps(writer, 4, 6);
  }
  EXPECT_EQ(read_file(folder.path() / "metrics.jsonl", "metrics"), uninterrupted);
}

TEST(MetricsWriter, RefusesAStepThatDoesNotFollow) {
  const TempDirectory folder;
  MetricsWriter writer(folder.path() / "metrics.jsonl", -1);
  writer.write(2, {});
  EXPECT_THROW(writer.write(2, {}), Error);
}

TEST(MetricsWriter, NamesAFileThatCannotBeWritten) {
  const TempDirectory folder;
  try {
    MetricsWriter writer(folder.path() / "missing" / "metrics.jsonl", -1);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.fault(), Fault::kIo);
    EXPECT_THAT(error.what(), ::testing::HasSubstr("metrics.jsonl"));
  }
}

}  // namespace
}  // namespace dormer::report
