#include "dormer/report/run_record.hpp"

#include <algorithm>
#include <charconv>
#include <limits>
#include <tuple>

#include <nlohmann/json.hpp>

#include "dormer/core/atomic_file.hpp"
#include "dormer/core/error.hpp"

namespace dormer::report {
namespace {

using nlohmann::ordered_json;
using Pairs = std::vector<std::pair<std::string, std::string>>;

constexpr const char* kMetricsName = "metrics.jsonl";

ordered_json layers_to_json(const std::vector<LayerChange>& layers) {
  ordered_json list = ordered_json::array();
  for (const LayerChange& layer : layers) {
    list.push_back({{"layer", layer.layer}, {"magnitude", layer.magnitude}, {"direction", layer.direction}});
  }
  return list;
}

/// JSON has null for what is not finite.
double number(const ordered_json& value) {
  return value.is_null() ? std::numeric_limits<double>::quiet_NaN() : value.get<double>();
}

std::vector<LayerChange> layers_from_json(const ordered_json& list) {
  std::vector<LayerChange> layers;
  for (const ordered_json& entry : list) {
    layers.push_back(
        {entry.at("layer").get<std::string>(), number(entry.at("magnitude")), number(entry.at("direction"))});
  }
  return layers;
}

std::string folder_name(const std::filesystem::path& folder) {
  const std::filesystem::path whole = std::filesystem::absolute(folder).lexically_normal();
  return (whole.has_filename() ? whole.filename() : whole.parent_path().filename()).string();
}

}  // namespace

std::string to_text(const RunRecord& record) {
  ordered_json json;
  json["name"] = record.name;
  json["state"] = record.state;
  json["exit_code"] = record.exit_code ? ordered_json(*record.exit_code) : ordered_json(nullptr);
  json["step"] = record.step;
  json["total_steps"] = record.total_steps;
  json["facts"] = record.facts;
  json["config"] = record.config;
  json["layers"] = layers_to_json(record.layers);
  // Paths and host names need not be UTF-8; what is not becomes U+FFFD.
  return json.dump(2, ' ', /*ensure_ascii=*/false, ordered_json::error_handler_t::replace) + '\n';
}

RunRecord parse_run_record(std::string_view text, const std::string& where) {
  try {
    const ordered_json json = ordered_json::parse(text);
    RunRecord record;
    record.name = json.at("name").get<std::string>();
    record.state = json.at("state").get<std::string>();
    if (!json.at("exit_code").is_null()) {
      record.exit_code = json.at("exit_code").get<int>();
    }
    record.step = json.at("step").get<std::int64_t>();
    record.total_steps = json.at("total_steps").get<std::int64_t>();
    record.facts = json.at("facts").get<Pairs>();
    record.config = json.at("config").get<Pairs>();
    record.layers = layers_from_json(json.at("layers"));
    return record;
  } catch (const ordered_json::exception& error) {
    fail(Fault::kInput, "{} holds no record of a run ({}); remove it and report again", where, error.what());
  }
}

namespace {

/// "step-000000040/0000.png" and so on; what has another name is not the run's.
std::vector<SampleFile> sample_files(const std::filesystem::path& folder) {
  std::vector<SampleFile> files;
  std::error_code code;
  for (const auto& step : std::filesystem::directory_iterator(folder, code)) {
    const std::string name = step.path().filename().string();
    constexpr std::string_view kBegin = "step-";
    std::int64_t number = 0;
    const auto [end, error] =
        std::from_chars(name.data() + std::min(kBegin.size(), name.size()), name.data() + name.size(), number);
    if (!name.starts_with(kBegin) || error != std::errc{} || end != name.data() + name.size()) {
      continue;
    }
    for (const auto& file : std::filesystem::directory_iterator(step.path(), code)) {
      if (file.path().extension() == ".png") {
        files.push_back({.step = number, .name = file.path().filename().string(), .path = file.path()});
      }
    }
  }
  std::ranges::sort(files, {}, [](const SampleFile& file) { return std::tie(file.name, file.step); });
  return files;
}

}  // namespace

Run read_run(const std::filesystem::path& folder) {
  require(std::filesystem::is_directory(folder), Fault::kUsage, "{}: no such folder; name a run directory",
          folder.string());
  const std::filesystem::path metrics = folder / kMetricsName;
  require(std::filesystem::exists(metrics), Fault::kInput, "{}: holds no {}; name a run directory", folder.string(),
          kMetricsName);
  Run run{.folder = folder,
          .record = {},
          .metrics = read_metrics(metrics),
          .samples = sample_files(folder / Run::kSamplesFolder)};
  const std::filesystem::path record = folder / RunRecord::kFileName;
  if (std::filesystem::exists(record)) {
    run.record = parse_run_record(read_file(record, "record of a run"), record.string());
  } else {
    run.record.name = folder_name(folder);
    run.record.state = "unknown: the directory has no record of it";
  }
  return run;
}

}  // namespace dormer::report
