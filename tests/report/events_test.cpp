#include <algorithm>
#include <cmath>
#include <cstring>
#include <fstream>
#include <limits>
#include <numeric>
#include <vector>

#include <gmock/gmock.h>

#include "dormer/core/atomic_file.hpp"
#include "dormer/core/error.hpp"
#include "dormer/report/event_writer.hpp"
#include "report/crc32c.hpp"
#include "report/event_records.hpp"
#include "support/temp_directory.hpp"

namespace dormer::report {
namespace {

using dormer::test::TempDirectory;
using ::testing::HasSubstr;

std::string bytes_of(std::initializer_list<int> values) {
  std::string text;
  for (const int value : values) {
    text += static_cast<char>(value);
  }
  return text;
}

/// Vectors of RFC 3720, appendix B.4, and the check value of the catalogue of CRCs.
TEST(Crc32c, GivesThePublishedSums) {
  EXPECT_EQ(crc32c("123456789"), 0xE3069283U);
  EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8A9136AAU);
  EXPECT_EQ(crc32c(std::string(32, '\xFF')), 0x62A8AB43U);
  std::string ascending;
  for (int i = 0; i < 32; ++i) {
    ascending += static_cast<char>(i);
  }
  EXPECT_EQ(crc32c(ascending), 0x46DD794EU);
  EXPECT_EQ(crc32c(""), 0U);
}

/// 0x8A9136AA: its low 15 bits 0x36AA go up by 17, the rest down by 15; plus the constant.
TEST(Crc32c, IsMaskedByRotatingAndAdding) {
  EXPECT_EQ(masked_crc32c(std::string(32, '\0')), 0x6D551522U + 0xA282EAD8U);
}

TEST(EventRecords, AFrameIsLengthSumBytesSum) {
  const std::string frame = framed("abc");
  ASSERT_EQ(frame.size(), 8 + 4 + 3 + 4U);
  EXPECT_EQ(frame.substr(0, 8), bytes_of({3, 0, 0, 0, 0, 0, 0, 0}));
  std::uint32_t sum = 0;
  std::memcpy(&sum, frame.data() + 8, 4);
  EXPECT_EQ(sum, masked_crc32c(frame.substr(0, 8)));
  EXPECT_EQ(frame.substr(12, 3), "abc");
  std::memcpy(&sum, frame.data() + 15, 4);
  EXPECT_EQ(sum, masked_crc32c("abc"));
}

/// Byte for byte, as protobuf's encoding has it: Event{wall_time: 2.0, step: 300, summary{value{tag, simple_value}}}.
TEST(EventRecords, AScalarIsAnEventInProtobufsWireFormat) {
  const std::vector<Metric> metrics{{"loss", 0.5}, {"n", std::int64_t{2}}};
  const std::string message = bytes_of({0x09, 0, 0, 0, 0, 0, 0, 0, 0x40})                                 // wall_time
                              + bytes_of({0x10, 0xAC, 0x02})                                              // step
                              + bytes_of({0x2A, 23})                                                      // summary
                              + bytes_of({0x0A, 11, 0x0A, 4}) + "loss" + bytes_of({0x15, 0, 0, 0, 0x3F})  //
                              + bytes_of({0x0A, 8, 0x0A, 1}) + "n" + bytes_of({0x15, 0, 0, 0, 0x40});
  EXPECT_EQ(scalar_record(2.0, 300, metrics), framed(message));
}

TEST(EventRecords, NumbersThatAreNotFiniteAreLeftOut) {
  const std::vector<Metric> odd{{"loss", std::nan("")}, {"norm", std::numeric_limits<double>::infinity()}};
  EXPECT_EQ(scalar_record(1.0, 1, odd), scalar_record(1.0, 1, {}));
}

TEST(EventRecords, WhatIsKeptEndsBeforeTheFirstBadFrameOrLaterStep) {
  const std::vector<Metric> metrics{{"loss", 1.0}};
  const std::string good = file_beginning(0.5, 7) + scalar_record(1.5, 0, metrics) + scalar_record(2.5, 1'000, metrics);
  const std::string last = scalar_record(3.5, 1'001, metrics);
  EXPECT_EQ(kept_events(good + last, 5'000).bytes, good.size() + last.size());
  EXPECT_EQ(kept_events(good + last, 5'000).last_step, 1'001);
  EXPECT_EQ(kept_events(good + last, 1'000).bytes, good.size());
  EXPECT_EQ(kept_events(good + last, 1'000).last_step, 1'000);
  EXPECT_EQ(kept_events(good, -1).bytes, file_beginning(0.5, 7).size());
  EXPECT_EQ(kept_events(good, -1).last_step, -1);
  for (std::size_t cut = 0; cut < last.size(); ++cut) {
    EXPECT_EQ(kept_events(good + last.substr(0, cut), 5'000).bytes, good.size()) << cut;
  }
  for (std::size_t at = 0; at < last.size(); ++at) {
    std::string damaged = last;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x20);
    EXPECT_EQ(kept_events(good + damaged, 5'000).bytes, good.size()) << at;
  }
}

std::vector<StepMetrics> history(std::int64_t last) {
  std::vector<StepMetrics> steps;
  for (std::int64_t step = 0; step <= last; ++step) {
    steps.push_back({step, {{"loss", 1.0 / static_cast<double>(step + 1)}}});
  }
  return steps;
}

/// Steps of all files of a folder, sorted: a step that is missing or there twice shows.
std::vector<std::int64_t> steps_in(const std::filesystem::path& folder) {
  std::vector<std::int64_t> steps;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    const std::string bytes = read_file(entry.path(), "events");
    std::int64_t before = -1;
    for (std::int64_t step = 0; step < 20; ++step) {  // the last step of what is kept up to each step
      const std::int64_t last = kept_events(bytes, step).last_step;
      if (last > before) {
        steps.push_back(last);
        before = last;
      }
    }
    EXPECT_EQ(kept_events(bytes, 20).bytes, bytes.size()) << "a torn frame is left in " << entry.path();
  }
  std::ranges::sort(steps);
  return steps;
}

std::vector<std::int64_t> up_to(std::int64_t last) {
  std::vector<std::int64_t> steps(static_cast<std::size_t>(last + 1));
  std::iota(steps.begin(), steps.end(), 0);
  return steps;
}

TEST(EventWriter, EveryStepOfTheHistoryStandsOnceWhereverALifeEnded) {
  const TempDirectory folder;
  const std::filesystem::path place = folder.path() / "tensorboard";
  {
    EventWriter writer(place, {});
    for (const StepMetrics& step : history(9)) {
      writer.write(step.step, step.metrics);
    }
    std::ofstream(writer.file(), std::ios::app | std::ios::binary) << "torn";
  }
  EXPECT_EQ(EventWriter(place, history(10)).file().parent_path(), place);  // killed between line and event of step 10
  EXPECT_EQ(steps_in(place), up_to(10));
  {
    EventWriter writer(place, history(4));
    EXPECT_EQ(steps_in(place), up_to(4));
    writer.write(5, history(5).back().metrics);
  }
  EXPECT_EQ(steps_in(place), up_to(5));
  const EventWriter fresh(place, {});
  EXPECT_TRUE(steps_in(place).empty());
}

TEST(EventWriter, NamesAFolderThatCannotBeMade) {
  const TempDirectory folder;
  std::ofstream(folder.path() / "tensorboard") << "a file";
  try {
    const EventWriter writer(folder.path() / "tensorboard", {});
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.fault(), Fault::kIo);
    EXPECT_THAT(error.what(), HasSubstr("tensorboard"));
  }
}

TEST(MetricsReader, ReadsWhatTheWriterWroteWithoutATornLine) {
  const TempDirectory folder;
  const std::filesystem::path file = folder.path() / "metrics.jsonl";
  std::ofstream(file) << "{\"step\":0,\"loss\":1.5,\"odd\":null}\n{\"step\":3,\"samples\":8}\n{\"step\":4,\"lo";
  const std::vector<StepMetrics> steps = read_metrics(file);
  ASSERT_EQ(steps.size(), 2U);
  ASSERT_EQ(steps[0].metrics.size(), 1U);
  EXPECT_EQ(std::get<double>(steps[0].metrics[0].value), 1.5);
  EXPECT_EQ(steps[1].step, 3);
  EXPECT_EQ(std::get<std::int64_t>(steps[1].metrics[0].value), 8);
}

TEST(MetricsReader, NamesTheLineThatIsNone) {
  const TempDirectory folder;
  const std::filesystem::path file = folder.path() / "metrics.jsonl";
  for (const char* bad : {"not json", "[1]", "{\"step\":\"2\"}", "{\"step\":1}"}) {
    std::ofstream(file) << "{\"step\":1}\n" << bad << "\n";
    try {
      static_cast<void>(read_metrics(file));
      FAIL() << bad;
    } catch (const Error& error) {
      EXPECT_EQ(error.fault(), Fault::kInput);
      EXPECT_THAT(error.what(), HasSubstr("metrics.jsonl:2: "));
    }
  }
}

}  // namespace
}  // namespace dormer::report
