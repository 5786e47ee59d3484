#include "report/growing_file.hpp"

#include <algorithm>
#include <csignal>

#include <gmock/gmock.h>
#include <sys/resource.h>

#include "dormer/core/atomic_file.hpp"
#include "dormer/report/event_writer.hpp"
#include "dormer/report/metrics_writer.hpp"
#include "report/event_records.hpp"
#include "support/temp_directory.hpp"

namespace dormer::report {
namespace {

using dormer::test::TempDirectory;

/// No file of this process may grow beyond `bytes` while this lives: a disk that is full, for everybody.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) : handler_(std::signal(SIGXFSZ, SIG_IGN)) {
    ::getrlimit(RLIMIT_FSIZE, &before_);
    const struct rlimit limit = {bytes, before_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  FileSizeLimit(const FileSizeLimit&) = delete;
  FileSizeLimit& operator=(const FileSizeLimit&) = delete;
  ~FileSizeLimit() {
    ::setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, handler_);
  }

 private:
  struct rlimit before_ = {};
  void (*handler_)(int);
};

std::string content(const std::filesystem::path& file) {
  return read_file(file, "file");
}

TEST(GrowingFile, KeepsWhatTheDiskRefusesAndTornLinesToo) {
  const TempDirectory folder;
  GrowingFile file(folder.path() / "lines");
  const std::string first = std::string(4'096, '-') + "\n";  // longer than what is told, whose file is limited, too
  file.add(first);
  {
    const FileSizeLimit limit(first.size() + 4);
    testing::internal::CaptureStderr();
    file.add("second line\n");
    file.add("third line\n");
    file.sync();
    const std::string told = testing::internal::GetCapturedStderr();
    EXPECT_EQ(std::ranges::count(told, '\n'), 1) << told;
    EXPECT_THAT(told, testing::AllOf(testing::HasSubstr((folder.path() / "lines").string()),
                                     testing::HasSubstr("8 bytes"), testing::HasSubstr("File too large")));
    EXPECT_EQ(content(file.path()), first + "seco");
  }
  file.add("fourth line\n");
  EXPECT_EQ(content(file.path()), first + "second line\nthird line\nfourth line\n");
}

TEST(GrowingFile, WritesWhatIsLeftWhenItIsClosed) {
  const TempDirectory folder;
  {
    GrowingFile file(folder.path() / "lines");
    const FileSizeLimit limit(0);  // ends before the file does
    file.add("kept\n");
    EXPECT_EQ(content(file.path()), "");
  }
  EXPECT_EQ(content(folder.path() / "lines"), "kept\n");
}

TEST(GrowingFile, MetricsAndEventsAreWholeAfterADiskWasFull) {
  const TempDirectory folder;
  MetricsWriter metrics(folder.path() / "metrics.jsonl", -1);
  EventWriter events(folder.path() / "tensorboard", {});
  const auto write = [&](std::int64_t step) {
    const std::vector<Metric> values{{"loss", 0.5}};
    metrics.write(step, values);
    events.write(step, values);
  };
  write(1);
  {
    const FileSizeLimit limit(30);
    write(2);
    write(3);
  }
  write(4);
  EXPECT_EQ(
      content(folder.path() / "metrics.jsonl"),
      "{\"step\":1,\"loss\":0.5}\n{\"step\":2,\"loss\":0.5}\n{\"step\":3,\"loss\":0.5}\n{\"step\":4,\"loss\":0.5}\n");
  const std::string bytes = content(events.file());
  const KeptEvents kept = kept_events(bytes, 100);
  EXPECT_EQ(kept.bytes, bytes.size());
  EXPECT_EQ(kept.last_step, 4);
}

}  // namespace
}  // namespace dormer::report
