#include "train/exporting.hpp"

#include <algorithm>
#include <charconv>
#include <map>
#include <string>

#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include "dormer/core/atomic_file.hpp"
#include "dormer/core/error.hpp"
#include "dormer/core/log.hpp"
#include "dormer/interop/adapter_values.hpp"
#include "dormer/interop/consumer.hpp"
#include "dormer/interop/merged.hpp"
#include "train/agreement.hpp"
#include "train/checkpointing.hpp"

namespace dormer::train {
namespace {

/// Export folder's name to the step it was made from.
using ExportRecord = std::map<std::string, std::int64_t>;

ExportRecord read_record(const RunPaths& paths) {
  if (!std::filesystem::exists(paths.export_record())) {
    return {};
  }
  const nlohmann::json json =
      nlohmann::json::parse(read_file(paths.export_record(), "record of exports"), nullptr, false);
  ExportRecord record;
  for (const auto& [name, step] : json.items()) {  // a damaged record only means that exports are written again
    if (step.is_number_integer()) {
      record[name] = step.get<std::int64_t>();
    }
  }
  return record;
}

std::int64_t exported_step(const RunConfig& config, const RunPaths& paths, const RunState& state) {
  const bool best = config.validation.keep_best && state.best.loss && checkpoint_of(paths, state.best.step);
  return best ? state.best.step : state.step;
}

std::vector<std::int64_t> parse_numbers(const std::string& text) {
  std::vector<std::int64_t> numbers;
  const char* place = text.data();
  const char* const end = text.data() + text.size();
  while (place < end) {
    std::int64_t number = 0;
    place = std::from_chars(place, end, number).ptr + 1;  // one comma after each
    numbers.push_back(number);
  }
  return numbers;
}

void write_one(const ExportRequest& request, const ExportSection& section, const std::filesystem::path& folder,
               const interop::BaseFacts& base, std::optional<interop::StoredAdapter>& stored) {
  const interop::Consumer consumer = interop::consumer_registry().get("export.for", section.consumer);
  const std::optional<DType> dtype = dtype_from_name(section.dtype);
  require(dtype.has_value(), Fault::kUsage, "unknown export.dtype '{}'", section.dtype);
  std::filesystem::create_directories(folder.parent_path());
  const adapter::AdapterSet& adapters = request.trial.adapters();
  if (consumer.format.empty()) {
    interop::write_merged(adapters, folder, base, {.dtype = *dtype, .largest_file = section.largest_file()});
    return;
  }
  const std::string name = section.name.value_or(request.config.name());
  if (!stored) {  // the same for every export
    stored = interop::stored_from(adapters, base);
    interop::require_same_function(*stored, adapters, base);
  }
  const std::string_view file = interop::adapter_formats().get("form", consumer.format).file_name;
  if (!file.empty()) {
    std::filesystem::create_directories(folder);
  }
  interop::write_for(section.consumer, consumer, *stored,
                     file.empty() ? folder : folder / fmt::format(fmt::runtime(file), name),
                     {.base = base,
                      .dtype = *dtype,
                      .text = {.title = section.title.empty() ? name : section.title,
                               .author = section.author,
                               .trigger = section.trigger,
                               .tags = section.tags,
                               .privacy = section.privacy}});
}

}  // namespace

void require_exports(const RunConfig& config, const Trial& trial, const interop::BaseFacts& base) {
  const Registry<interop::Consumer> consumers = interop::consumer_registry();
  const interop::StoredAdapter stored = interop::stored_from(trial.adapters(), base);
  for (const ExportSection& section : config.exports) {
    interop::require_exact(section.consumer, consumers.get("export.for", section.consumer), stored);
  }
}

std::vector<std::filesystem::path> export_folders(const RunConfig& config, const RunPaths& paths) {
  std::vector<std::filesystem::path> folders;
  for (const ExportSection& section : config.exports) {
    const std::filesystem::path plain = paths.exported(section.consumer);
    const bool taken = std::find(folders.begin(), folders.end(), plain) != folders.end();
    folders.push_back(taken ? paths.exported(section.consumer + "-" + section.name.value_or(config.name())) : plain);
  }
  return folders;
}

ExportPlan agree_on_exports(comm::Communicator& communicator, const RunConfig& config, const RunPaths& paths,
                            const RunState& state) {
  const std::string text = agree_on_text(communicator, [&] {
    const std::int64_t step = exported_step(config, paths, state);
    const ExportRecord record = read_record(paths);
    const std::vector<std::filesystem::path> folders = export_folders(config, paths);
    std::string numbers = fmt::format("{},", step);
    for (std::size_t index = 0; index < folders.size(); ++index) {
      const auto found = record.find(folders[index].filename().string());
      if (found == record.end() || found->second != step || !std::filesystem::exists(folders[index])) {
        numbers += fmt::format("{},", index);
      }
    }
    return numbers;
  });
  const std::vector<std::int64_t> numbers = parse_numbers(text);
  ExportPlan plan{.step = numbers.at(0), .missing = {}};
  for (std::size_t index = 1; index < numbers.size(); ++index) {
    plan.missing.push_back(static_cast<std::size_t>(numbers[index]));
  }
  return plan;
}

void write_exports(comm::Communicator& communicator, const ExportRequest& request,
                   const std::vector<std::size_t>& indices) {
  agree(communicator, [&] {
    if (communicator.rank() != 0 || indices.empty()) {
      return;
    }
    const std::vector<std::filesystem::path> folders = export_folders(request.config, request.paths);
    ExportRecord record = read_record(request.paths);
    const interop::BaseFacts base = request.task.base_facts();
    std::optional<interop::StoredAdapter> stored;
    for (const std::size_t index : indices) {
      write_one(request, request.config.exports[index], folders[index], base, stored);
      record[folders[index].filename().string()] = request.step;
      write_file_atomically(request.paths.export_record(), std::string_view(nlohmann::json(record).dump() + "\n"));
      log::info("step {}: exported to {}", request.step, folders[index].string());
    }
  });
}

}  // namespace dormer::train
