#include "dormer/report/metrics_writer.hpp"

#include <utility>

#include <nlohmann/json.hpp>

#include "dormer/core/atomic_file.hpp"
#include "dormer/core/error.hpp"
#include "report/growing_file.hpp"

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

MetricsWriter::MetricsWriter(std::filesystem::path file, std::int64_t last_step) {
  if (std::filesystem::exists(file)) {
    const std::string text = read_file(file, "metrics file");
    const KeptLines kept = keep_lines(text, last_step);
    if (kept.text != text) {
      write_file_atomically(file, std::string_view(kept.text));
    }
    last_step_ = kept.last_step;
  }
  file_ = std::make_unique<GrowingFile>(std::move(file));
}

MetricsWriter::~MetricsWriter() = default;

void MetricsWriter::write(std::int64_t step, std::span<const Metric> metrics) {
  invariant(step > last_step_, "metrics of step {} come after those of step {}", step, last_step_);
  nlohmann::ordered_json object;
  object["step"] = step;
  for (const Metric& metric : metrics) {
    std::visit([&](auto value) { object[metric.name] = value; },
               metric.value);  // the library writes null for not-a-number
  }
  file_->add(object.dump() + '\n');
  last_step_ = step;
}

void MetricsWriter::sync() {
  file_->sync();
}

}  // namespace dormer::report
