#include <algorithm>
#include <set>
#include <utility>

#include <fmt/ranges.h>

#include "dormer/adapter/site_plan.hpp"
#include "dormer/core/error.hpp"
#include "dormer/interop/adapter_format.hpp"
#include "dormer/train/run_config.hpp"

namespace dormer::train {
namespace {

using Messages = std::vector<std::string>;

/// A name that becomes part of a path.
bool is_file_name(const std::string& name) {
  return name != "." && name != ".." && name.find_first_of(std::string_view("/\\\0", 3)) == std::string::npos &&
         name.size() <= 200;
}

void check_run(const RunConfig& config, Messages& messages) {
  if (config.run.steps.has_value() == config.run.epochs.has_value()) {
    messages.emplace_back(config.run.steps
                              ? "run.steps: stands beside run.epochs; write exactly one of them"
                              : "run.steps: is missing; write run.steps or run.epochs, exactly one of them");
  }
  if (!is_file_name(config.run.name)) {
    messages.emplace_back("run.name: names folders of exports, so it holds no '/' or '\\' and at most 200 characters");
  }
  if (config.model.dtype == "float16") {
    messages.emplace_back("model.dtype: float16 has no kernels here; write auto, bfloat16 or float32");
  }
  if (config.run.steps && config.schedule.warmup.steps_of(*config.run.steps) > *config.run.steps) {
    messages.push_back(fmt::format("schedule.warmup: {} updates of warm-up are more than the run's {}",
                                   config.schedule.warmup.steps_of(*config.run.steps), *config.run.steps));
  }
  if (config.validation.patience && config.data.validation.empty()) {
    messages.emplace_back("validation.patience: needs a held-out data set; write data.validation");
  }
}

void check_numbers(const RunConfig& config, Messages& messages) {
  if (config.batch.global % config.batch.micro != 0) {
    messages.push_back(
        fmt::format("batch.micro: {} does not divide batch.global, {}", config.batch.micro, config.batch.global));
  }
  const std::vector<double>& betas = config.optimizer.betas;
  if (betas.size() != 2 || std::ranges::any_of(betas, [](double beta) { return !(beta >= 0.0 && beta < 1.0); })) {
    messages.emplace_back("optimizer.betas: must be two numbers, each at least 0 and below 1");
  }
}

void check_adapter(const RunConfig& config, Messages& messages) {
  const adapter::AdapterConfig& adapter = config.adapter;
  try {
    if (!(adapter.alpha_value() > 0.0)) {
      messages.push_back(fmt::format("adapter.alpha: must be above 0, is {}", adapter.alpha_value()));
    }
  } catch (const Error& error) {  // an expression that cannot be read is one more mistake to list
    messages.push_back(fmt::format("adapter.alpha: {}", error.what()));
  }
  if (adapter.factor == 0) {
    messages.emplace_back("adapter.factor: is -1 or a number of at least 1");
  }
  if (adapter.layers) {
    try {
      static_cast<void>(adapter::parse_layers(*adapter.layers));
    } catch (const Error& error) {
      messages.emplace_back(error.what());
    }
  }
  if (adapter.targets.empty() || std::ranges::find(adapter.targets, "") != adapter.targets.end() ||
      std::ranges::find(adapter.exclude, "") != adapter.exclude.end()) {
    messages.emplace_back(
        "adapter.targets: must name at least one pattern and no empty one; all-linear takes every layer");
  }
  if (adapter.init_from && adapter.init_from->empty()) {
    messages.emplace_back("adapter.init_from: is empty; name the folder of an adapter, or write null");
  }
}

/// Files for consumers that read different axes cannot come from one trained adapter.
void check_exports(const RunConfig& config, const Registry<interop::AdapterFormat>& formats, Messages& messages) {
  std::set<std::pair<std::string, std::string>> written;
  const ExportSection* reads_input = nullptr;
  const ExportSection* reads_output = nullptr;
  for (std::size_t i = 0; i < config.exports.size(); ++i) {
    const ExportSection& wish = config.exports[i];
    const std::string name = wish.name.value_or(config.name());
    if (!written.emplace(wish.consumer, name).second) {
      messages.push_back(fmt::format("export.{}.name: a second export for {} under the name '{}'; give it another name",
                                     i, wish.consumer, name));
    }
    if (name.empty() || !is_file_name(name)) {
      messages.push_back(fmt::format("export.{}.name: names a folder, so it is not empty and holds no '/' or '\\'", i));
    }
    const interop::AdapterFormat* format = formats.find(wish.consumer);  // none: a mistake that is listed already
    if (format != nullptr && format->axes.size() == 1) {
      (format->axes.front() == "input" ? reads_input : reads_output) = &wish;
    }
  }
  if (!config.adapter.decompose) {
    return;
  }
  if (reads_input != nullptr && reads_output != nullptr) {
    messages.push_back(
        fmt::format("export.0.for: {} reads the norms of input channels and {} those of output rows; an "
                    "adapter has one of them, so export for one side",
                    reads_input->consumer, reads_output->consumer));
  } else if (reads_input != nullptr && config.adapter.decompose->axis == "output") {
    messages.push_back(fmt::format("adapter.decompose.axis: {} cannot read the output axis", reads_input->consumer));
  } else if (reads_output != nullptr && config.adapter.decompose->axis == "input") {
    messages.push_back(fmt::format("adapter.decompose.axis: {} cannot read the input axis", reads_output->consumer));
  }
}

/// Every kind of adapter, and rows of added tokens, must have a place in every export.
void check_contents(const RunConfig& config, const Registry<interop::AdapterFormat>& formats, Messages& messages) {
  std::set<std::string> kinds{config.adapter.kind};
  for (const adapter::OverrideConfig& wish : config.adapter.overrides) {
    kinds.insert(wish.kind.value_or(config.adapter.kind));
  }
  for (std::size_t i = 0; i < config.exports.size(); ++i) {
    const interop::AdapterFormat* format = formats.find(config.exports[i].consumer);
    if (format == nullptr) {
      continue;
    }
    for (const std::string& kind : kinds) {
      if (!format->kinds.empty() && std::ranges::find(format->kinds, kind) == format->kinds.end()) {
        messages.push_back(fmt::format("export.{}.for: {} holds adapters of kind {}, not {}; export for merged", i,
                                       config.exports[i].consumer, fmt::join(format->kinds, " and "), kind));
      }
    }
    if (config.model.added_tokens == "train" && !format->added_tokens) {
      messages.push_back(fmt::format("export.{}.for: {} reads no rows of added tokens; export for peft or merged", i,
                                     config.exports[i].consumer));
    }
  }
}

}  // namespace

std::vector<std::string> check(const RunConfig& config, const Registry<interop::AdapterFormat>& formats) {
  Messages messages;
  check_run(config, messages);
  check_numbers(config, messages);
  check_adapter(config, messages);
  check_exports(config, formats, messages);
  check_contents(config, formats, messages);
  return messages;
}

std::vector<std::string> check(const RunConfig& config) {
  return check(config, interop::adapter_formats());
}

}  // namespace dormer::train
