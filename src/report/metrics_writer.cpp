#include "dormer/report/metrics_writer.hpp"

#include <cerrno>
#include <cstring>

#include <fcntl.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "dormer/core/atomic_file.hpp"
#include "dormer/core/error.hpp"
#include "report/append.hpp"

namespace dormer::report {
namespace {

struct KeptLines {
  std::string text;
  std::int64_t last_step = -1;
};

KeptLines keep_lines(const std::string& text, std::int64_t last_step) {
  KeptLines kept;
  std::size_t begin = 0;
  for (std::size_t end = text.find('\n'); end != std::string::npos; begin = end + 1, end = text.find('\n', begin)) {
    const std::string line = text.substr(begin, end - begin);
    const nlohmann::json object = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (!object.is_object() || !object.contains("step") || !object["step"].is_number_integer()) {
      continue;
    }
    const auto step = object["step"].get<std::int64_t>();
    if (step <= last_step && step > kept.last_step) {
      kept.text += line + '\n';
      kept.last_step = step;
    }
  }
  return kept;
}

}  // namespace

MetricsWriter::MetricsWriter(std::filesystem::path file, std::int64_t last_step) : file_(std::move(file)) {
  if (std::filesystem::exists(file_)) {
    const std::string text = read_file(file_, "metrics file");
    const KeptLines kept = keep_lines(text, last_step);
    if (kept.text != text) {
      write_file_atomically(file_, std::string_view(kept.text));
    }
    last_step_ = kept.last_step;
  }
  descriptor_ = ::open(file_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  require(descriptor_ >= 0, Fault::kIo, "cannot open {} for writing: {}", file_.string(), std::strerror(errno));
}

MetricsWriter::~MetricsWriter() {
  ::close(descriptor_);
}

void MetricsWriter::write(std::int64_t step, std::span<const Metric> metrics) {
  invariant(step > last_step_, "metrics of step {} come after those of step {}", step, last_step_);
  nlohmann::ordered_json object;
  object["step"] = step;
  for (const Metric& metric : metrics) {
    std::visit([&](auto value) { object[metric.name] = value; },
               metric.value);  // the library writes null for not-a-number
  }
  append(descriptor_, object.dump() + '\n', file_);
  last_step_ = step;
}

void MetricsWriter::sync() {
  ::fsync(descriptor_);
}

}  // namespace dormer::report
