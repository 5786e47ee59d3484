#include "dormer/sweep/journal.hpp"

#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <fstream>
#include <limits>

#include <gmock/gmock.h>

#include "dormer/core/atomic_file.hpp"
#include "dormer/core/error.hpp"
#include "support/temp_directory.hpp"

namespace dormer::sweep {
namespace {

using ::testing::HasSubstr;

Event numbered(std::int64_t trial) {
  return {.kind = EventKind::kStarted, .trial = trial, .attempt = 1, .step = 8, .worker = "w"};
}

TEST(Event, EveryFieldReadsBack) {
  const Event event{.kind = EventKind::kFailed,
                    .trial = 12,
                    .attempt = 3,
                    .step = 7,
                    .finished = true,
                    .worker = "host-1-2",
                    .measurements = {{.step = 4, .value = 0.1 + 0.2, .seconds = 1.5}},
                    .fault = Fault::kNumerical,
                    .text = "a \"reason\"\nof two lines \xff",
                    .settings = Point{{"adapter.decompose", "{axis: output}"}, {"run.steps", "null"}},
                    .time = 1e9};
  const std::string line = to_line(event);
  EXPECT_EQ(line.find('\n'), std::string::npos);
  const Event read = parse_event(line, "here");
  EXPECT_EQ(read.kind, event.kind);
  EXPECT_EQ(read.trial, 12);
  EXPECT_EQ(read.attempt, 3);
  EXPECT_EQ(read.step, 7);
  EXPECT_TRUE(read.finished);
  EXPECT_EQ(read.worker, event.worker);
  ASSERT_EQ(read.measurements.size(), 1U);
  EXPECT_EQ(read.measurements[0].value, 0.1 + 0.2);
  EXPECT_EQ(read.fault, Fault::kNumerical);
  EXPECT_THAT(read.text, HasSubstr("a \"reason\"\nof two lines"));
  EXPECT_EQ(read.settings, event.settings);
}

TEST(Event, WhatIsNotFiniteComesBackAsNotANumber) {
  const Event event{.kind = EventKind::kMeasured,
                    .trial = 1,
                    .measurements = {{.step = 4, .value = std::numeric_limits<double>::infinity()}}};
  EXPECT_TRUE(std::isnan(parse_event(to_line(event), "here").measurements.at(0).value));
}

TEST(Event, OthersAreRefusedByPlace) {
  for (const char* text : {"", "{", "[]", "{\"event\":\"danced\"}", "{\"event\":3}", "null"}) {
    try {
      static_cast<void>(parse_event(text, "journal.jsonl:7"));
      FAIL() << text;
    } catch (const Error& error) {
      EXPECT_EQ(error.fault(), Fault::kInput) << text;
      EXPECT_THAT(error.what(), HasSubstr("journal.jsonl:7")) << text;
    }
  }
}

class JournalTest : public ::testing::TestWithParam<LockKind> {
 protected:
  [[nodiscard]] std::filesystem::path file() const { return folder_.path() / "journal.jsonl"; }
  [[nodiscard]] std::vector<std::int64_t> all() const {
    std::vector<std::int64_t> trials;
    Journal(file(), GetParam()).read([&](const Event& event) { trials.push_back(event.trial); });
    return trials;
  }
  test::TempDirectory folder_;
};

TEST_P(JournalTest, ProcessesSeeOneOrder) {
  // Every process appends what it has seen last plus one, 100 times: only in turns do the numbers count up.
  constexpr int kProcesses = 4;
  constexpr int kTurns = 100;
  for (int process = 0; process < kProcesses; ++process) {
    if (::fork() == 0) {
      Journal journal(file(), GetParam());
      std::int64_t last = -1;
      for (int turn = 0; turn < kTurns; ++turn) {
        journal.transact([&](const Event& event) { last = event.trial; },
                         [&] { return std::vector<Event>{numbered(last + 1)}; });
      }
      ::_exit(0);
    }
  }
  for (int process = 0; process < kProcesses; ++process) {
    int status = 0;
    ::wait(&status);
    EXPECT_EQ(status, 0);
  }
  const std::vector<std::int64_t> trials = all();
  ASSERT_EQ(trials.size(), static_cast<std::size_t>(kProcesses * kTurns));
  for (std::size_t i = 0; i < trials.size(); ++i) {
    ASSERT_EQ(trials[i], static_cast<std::int64_t>(i));
  }
}

TEST_P(JournalTest, ATornLineIsLeftByReadersAndCutByTheNextWriter) {
  Journal journal(file(), GetParam());
  const auto nothing = [](const Event&) {};
  journal.transact(nothing, [] { return std::vector<Event>{numbered(1)}; });
  std::ofstream(file(), std::ios::app) << R"({"event":"started","tri)";
  EXPECT_EQ(all(), std::vector<std::int64_t>{1});
  journal.transact(nothing, [] { return std::vector<Event>{numbered(2)}; });
  EXPECT_EQ(all(), (std::vector<std::int64_t>{1, 2}));
}

TEST_P(JournalTest, ADecisionThatThrowsAppendsNothingAndFreesTheLock) {
  Journal journal(file(), GetParam());
  const auto nothing = [](const Event&) {};
  journal.transact(nothing, [] { return std::vector<Event>{numbered(1)}; });
  EXPECT_THROW(journal.transact(nothing, []() -> std::vector<Event> { fail(Fault::kUsage, "no"); }), Error);
  journal.transact(nothing, [] { return std::vector<Event>{numbered(2)}; });
  EXPECT_EQ(all(), (std::vector<std::int64_t>{1, 2}));
}

TEST_P(JournalTest, AWholeLineThatIsNoEventIsNamed) {
  Journal journal(file(), GetParam());
  const auto nothing = [](const Event&) {};
  journal.transact(nothing, [] { return std::vector<Event>{numbered(1)}; });
  std::ofstream(file(), std::ios::app) << "garbage\n";
  try {
    static_cast<void>(all());
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("journal.jsonl:2: not a line of a sweep's journal"));
  }
}

INSTANTIATE_TEST_SUITE_P(Locks, JournalTest, ::testing::Values(LockKind::kKernel, LockKind::kFolder),
                         [](const auto& each) { return each.param == LockKind::kKernel ? "Kernel" : "Folder"; });

TEST(Journal, AFullDiskLeavesItAsItWas) {
  // /dev/full takes no byte.
  Journal journal("/dev/full", LockKind::kKernel);
  const test::TempDirectory folder;
  const std::filesystem::path link = folder.path() / "journal.jsonl";
  std::filesystem::create_symlink("/dev/full", link);
  Journal linked(link, LockKind::kKernel);
  try {
    linked.transact([](const Event&) {}, [] { return std::vector<Event>{numbered(1)}; });
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.fault(), Fault::kIo);
    EXPECT_THAT(error.what(), HasSubstr("does not take"));
  }
}

}  // namespace
}  // namespace dormer::sweep
