#include "train/file_plan.hpp"

#include <algorithm>
#include <cmath>

#include <ATen/core/Tensor.h>

#include "dormer/adapter/change.hpp"
#include "dormer/config/write.hpp"
#include "dormer/core/error.hpp"
#include "dormer/interop/merged.hpp"
#include "dormer/interop/peft.hpp"
#include "dormer/report/report.hpp"
#include "dormer/storage/checkpoint.hpp"
#include "train/exporting.hpp"
#include "train/run_directory.hpp"
#include "train/run_state.hpp"

namespace dormer::train {
namespace {

// Lines and pages whose length depends on the digits of numbers, as runs of this version have them on average.
constexpr std::int64_t kMetricsLine = 150;
constexpr std::int64_t kEventsOfStep = 300;
constexpr std::int64_t kEventsOfStart = 3'500;
constexpr std::int64_t kPage = 45'000;  // with the words for its plots, without their points
constexpr std::int64_t kPageOfStep = 120;
constexpr std::int64_t kPageOfLayer = 100;
constexpr std::int64_t kRecord = 3'500;
constexpr std::int64_t kRecordOfLayer = 150;
constexpr std::int64_t kTensorHeader = 110;  // of a safetensors array, besides its name

/// How often something of this cadence happens in the whole run; by the clock: unknown.
std::optional<std::int64_t> times(const config::Cadence& cadence, const FileFacts& facts) {
  const auto steps = static_cast<double>(facts.total_steps);
  switch (cadence.unit) {
    case config::Cadence::Unit::kNever:
      return 0;
    case config::Cadence::Unit::kSteps:
      return static_cast<std::int64_t>(steps / cadence.amount);
    case config::Cadence::Unit::kEpochs:
      return static_cast<std::int64_t>(steps * static_cast<double>(facts.config.batch.global) /
                                       (cadence.amount * static_cast<double>(facts.samples)));
    case config::Cadence::Unit::kSeconds:
      return std::nullopt;
  }
  return std::nullopt;
}

bool validates(const RunConfig& config) {
  return !config.data.validation.empty() && config.validation.every.unit != config::Cadence::Unit::kNever;
}

/// Retention's most: the newest ones, and the best ones where something tells which those are.
std::int64_t kept_checkpoints(const FileFacts& facts) {
  const RunConfig& config = facts.config;
  const std::int64_t wanted = std::min(
      std::max<std::int64_t>(config.checkpoint.keep.last, 1) + (validates(config) ? config.checkpoint.keep.best : 0),
      facts.total_steps);
  const std::optional<std::int64_t> regular = times(config.checkpoint.every, facts);
  const std::optional<std::int64_t> measured = times(config.validation.every, facts);
  if (!regular || !measured) {
    return wanted;
  }
  const bool keeps_best = validates(config) && config.validation.keep_best && config.checkpoint.keep.best > 0;
  return std::min(wanted, *regular + 1 + (keeps_best ? *measured : 0));  // 1: at the end
}

storage::CheckpointSize checkpoint_bytes(const FileFacts& facts) {
  std::vector<storage::NamedArray> arrays;
  std::vector<std::string> prefixes{"parameters/"};
  for (const std::string& name : facts.state_arrays) {
    prefixes.push_back("moments/" + name + "/");
  }
  for (const std::string& prefix : prefixes) {
    for (const tensor::ParameterEntry& entry : facts.adapters.space().entries()) {
      arrays.push_back({prefix + entry.name, DType::kF32, entry.shape, {}});
    }
  }
  for (const SharedShape& array : facts.shared_arrays) {
    arrays.push_back({"moments/" + array.name, DType::kF32, array.shape, {}});
  }
  for (const auto& [parameter, values] : facts.adapters.start_values()) {
    arrays.push_back({"starts/" + parameter, DType::kF32, values.sizes().vec(), {}});
  }
  RunState state;
  state.config = config::flatten(facts.config);
  return storage::checkpoint_size(arrays, to_text(state));
}

/// Arrays of an export with their header, by the dtype's width.
std::int64_t array_bytes(const FileFacts& facts, std::int64_t width) {
  std::int64_t bytes = 0;
  for (const tensor::ParameterEntry& entry : facts.adapters.space().entries()) {
    bytes += entry.count() * width + std::ssize(entry.name) + kTensorHeader;
  }
  return bytes;
}

std::int64_t width_of(const ExportSection& section) {
  const std::optional<DType> dtype = dtype_from_name(section.dtype);
  require(dtype.has_value(), Fault::kUsage, "unknown export.dtype '{}'", section.dtype);
  return static_cast<std::int64_t>(size_of(*dtype));
}

}  // namespace

FilesOfRun plan_files(const FileFacts& facts) {
  const RunConfig& config = facts.config;
  const RunPaths paths{config.run.directory};
  const auto name = [&](const std::filesystem::path& path) { return path.lexically_relative(paths.root).string(); };
  FilesOfRun result;
  const storage::CheckpointSize checkpoint = checkpoint_bytes(facts);
  result.checkpoint_shard = checkpoint.shard;
  result.files.push_back({name(paths.checkpoints()), kept_checkpoints(facts), checkpoint.total()});
  const std::vector<std::filesystem::path> folders = export_folders(config, paths);
  const std::int64_t tokenizer = interop::tokenizer_bytes(facts.model_folder);
  for (std::size_t index = 0; index < folders.size(); ++index) {
    const bool merged = config.exports[index].consumer == "merged";
    const std::int64_t arrays = merged ? interop::merged_bytes(facts.adapters, facts.model_folder,
                                                               *dtype_from_name(config.exports[index].dtype))
                                       : array_bytes(facts, width_of(config.exports[index]));
    // A merged model is written in one file after the other.
    result.largest_export =
        std::max(result.largest_export, merged ? std::min(arrays, config.exports[index].largest_file()) : arrays);
    result.files.push_back({name(folders[index]), 1, arrays + tokenizer});
  }
  if (config.samples.wanted()) {
    constexpr std::int64_t kColours = 3;  // of a byte each; what PNG saves is not known beforehand
    const std::int64_t pictures = std::ssize(config.samples.prompts);
    result.files.push_back({"samples", pictures * (times(config.samples.every, facts).value_or(0) + 2),
                            config.samples.width * config.samples.height * kColours});
  }
  const std::int64_t lines = facts.total_steps + 1;
  result.files.push_back({name(paths.metrics()), 1, lines * kMetricsLine});
  result.files.push_back({name(paths.tensorboard()), 1, kEventsOfStart + lines * kEventsOfStep});
  const std::int64_t layers = std::ssize(facts.adapters.site_names());
  const std::int64_t page = kPage + std::ssize(report::plotly_bundle());
  result.files.push_back({name(paths.report()), 1, page + lines * kPageOfStep + layers * kPageOfLayer});
  result.files.push_back({"report.json", 1, kRecord + layers * kRecordOfLayer});
  return result;
}

}  // namespace dormer::train
