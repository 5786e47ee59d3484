#include "dormer/report/event_writer.hpp"

#include <algorithm>
#include <chrono>
#include <system_error>
#include <vector>

#include <unistd.h>

#include <fmt/format.h>

#include "dormer/core/atomic_file.hpp"
#include "dormer/core/error.hpp"
#include "dormer/core/host_name.hpp"
#include "report/event_records.hpp"
#include "report/growing_file.hpp"

namespace dormer::report {
namespace {

constexpr const char* kPrefix = "events.out.tfevents.";

double now() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

std::vector<std::filesystem::path> event_files(const std::filesystem::path& folder) {
  std::vector<std::filesystem::path> files;
  std::error_code code;
  std::filesystem::directory_iterator entries(folder, code);
  require(!code, Fault::kIo, "cannot list the folder {}: {}", folder.string(), code.message());
  for (const auto& entry : entries) {
    if (entry.path().filename().string().starts_with(kPrefix)) {
      files.push_back(entry.path());
    }
  }
  std::ranges::sort(files);
  return files;
}

/// Leaves in `files` the steps up to `last_step`, each once; returns the last one there.
std::int64_t cut_behind(const std::vector<std::filesystem::path>& files, std::int64_t last_step) {
  std::int64_t last = -1;
  for (const std::filesystem::path& file : files) {
    const std::string bytes = read_file(file, "file of events");
    const KeptEvents kept = kept_events(bytes, last_step);
    if (kept.bytes < bytes.size()) {
      std::error_code code;
      std::filesystem::resize_file(file, kept.bytes, code);
      require(!code, Fault::kIo, "cannot shorten {}: {}", file.string(), code.message());
    }
    last = std::max(last, kept.last_step);
  }
  return last;
}

}  // namespace

EventWriter::EventWriter(const std::filesystem::path& folder, std::span<const StepMetrics> history) {
  std::error_code code;
  std::filesystem::create_directories(folder, code);
  require(!code && std::filesystem::is_directory(folder), Fault::kIo, "cannot make the folder {}: {}", folder.string(),
          code ? code.message() : "there is a file of this name");
  const std::vector<std::filesystem::path> earlier = event_files(folder);
  const std::int64_t kept = cut_behind(earlier, history.empty() ? -1 : history.back().step);
  const double begin = now();
  std::string bytes = file_beginning(begin, kept + 1);
  for (const StepMetrics& step : history) {
    if (step.step > kept) {
      bytes += scalar_record(begin, step.step, step.metrics);
    }
  }
  const std::filesystem::path file =
      folder / fmt::format("{}{:010.0f}.{}.{}.{}", kPrefix, begin, host_name(), ::getpid(), earlier.size());
  write_file_atomically(file, std::string_view(bytes));
  file_ = std::make_unique<GrowingFile>(file);
}

EventWriter::~EventWriter() = default;

const std::filesystem::path& EventWriter::file() const {
  return file_->path();
}

void EventWriter::write(std::int64_t step, std::span<const Metric> metrics) {
  file_->add(scalar_record(now(), step, metrics));
}

}  // namespace dormer::report
