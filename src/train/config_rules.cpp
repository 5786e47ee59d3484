#include <algorithm>
#include <cmath>
#include <set>
#include <utility>

#include <fmt/ranges.h>

#include "dormer/adapter/profile.hpp"
#include "dormer/adapter/site_plan.hpp"
#include "dormer/core/error.hpp"
#include "dormer/interop/consumer.hpp"
#include "dormer/train/pictures.hpp"
#include "dormer/train/run_config.hpp"
#include "train/optimizer_rules.hpp"

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
  const WatchdogSection& watchdog = config.run.watchdog;
  for (const auto& [key, limit] :
       {std::pair{"start", watchdog.start}, std::pair{"step", watchdog.step}, std::pair{"io", watchdog.io}}) {
    if (limit.seconds && !(*limit.seconds > 0.0)) {
      messages.push_back(fmt::format("run.watchdog.{}: must be above 0; null means no end", key));
    }
  }
  const bool held_out =
      config.data.kind == "images"
          ? std::ranges::any_of(config.data.images.concepts, [](const auto& each) { return each.role == "validation"; })
          : !config.data.validation.empty();
  if (config.validation.patience && !held_out) {
    messages.emplace_back("validation.patience: needs a held-out data set; write data.validation");
  }
}

/// Keys of images and of text belong to data of their kind.
void check_samples(const SamplesSection& samples, Messages& messages) {
  if (samples.wanted() && samples.prompts.empty()) {
    messages.emplace_back("samples.every: has no prompts; write samples.prompts");
  }
  if (samples.width % 8 != 0 || samples.height % 8 != 0) {
    messages.push_back(fmt::format("samples.width, samples.height: must be multiples of 8, are {} x {}", samples.width,
                                   samples.height));
  }
  try {
    static_cast<void>(prompt_lines(samples));
  } catch (const Error& error) {
    messages.emplace_back(error.what());
  }
}

void check_data(const RunConfig& config, Messages& messages) {
  const bool images = config.data.kind == "images";
  if (images != (config.objective.kind == "denoise")) {
    messages.push_back(fmt::format("objective.kind: {} does not go with data.kind: {}; write {}", config.objective.kind,
                                   config.data.kind, images ? "denoise" : "next_token"));
  }
  if (!images) {
    if (!config.samples.prompts.empty()) {
      messages.emplace_back("samples.prompts: are for diffusion models; take them away");
    }
    if (config.data.train.empty()) {
      messages.emplace_back("data.train: is missing");
    }
    if (!config.data.images.concepts.empty()) {
      messages.emplace_back("data.concepts: are folders of images; write data.kind: images");
    }
    return;
  }
  const std::vector<data::ConceptConfig>& concepts = config.data.images.concepts;
  if (std::ranges::none_of(concepts, [](const data::ConceptConfig& each) { return each.role == "train"; })) {
    messages.emplace_back("data.concepts: must name at least one folder to train on");
  }
  const std::vector<std::string> found = data::check_concepts(concepts, "data.concepts");
  messages.insert(messages.end(), found.begin(), found.end());
  for (const double resolution : config.data.images.resolution) {
    if (resolution != std::floor(resolution) || resolution < static_cast<double>(config.data.images.buckets.step)) {
      messages.push_back(
          fmt::format("data.resolution: {} is no whole number of pixels from data.buckets.step on", resolution));
    }
  }
  if (config.data.images.resolution.empty()) {
    messages.emplace_back("data.resolution: must name at least one");
  }
  const std::vector<std::string>& parts = config.model.train;
  if (parts.empty() || std::set<std::string>(parts.begin(), parts.end()).size() != parts.size()) {
    messages.emplace_back(
        "model.train: names every part that gets adapters once, such as [unet] or [unet, text_encoder]");
  }
  if (config.model.added_tokens != "none") {
    messages.emplace_back("model.added_tokens: belongs to language models; take it away");
  }
  if (adapter::takes_from_data(adapter::start_named(config.adapter.start))) {
    messages.emplace_back("adapter.start: eva reads tokens; write another for images");
  }
  check_samples(config.samples, messages);
  if (config.text.max_tokens % 75 != 0) {
    messages.emplace_back("text.max_tokens: must be a multiple of 75");
  }
}

void check_numbers(const RunConfig& config, Messages& messages) {
  if (config.batch.global % config.batch.micro != 0) {
    messages.push_back(
        fmt::format("batch.micro: {} does not divide batch.global, {}", config.batch.micro, config.batch.global));
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
  const std::vector<std::string> contradictions = adapter::profile_contradictions(adapter);
  messages.insert(messages.end(), contradictions.begin(), contradictions.end());
  const adapter::Start start = adapter::start_named(adapter.start);
  if ((adapter::takes_from_weight(start) || adapter::takes_from_data(start)) && adapter.init_from) {
    messages.push_back(fmt::format(
        "adapter.start: {} makes the factors that adapter.init_from brings; take one of them away", adapter.start));
  }
  if (adapter.start != "pissa_fast" && adapter.start_iterations != adapter::AdapterConfig{}.start_iterations) {
    messages.push_back(
        fmt::format("adapter.start_iterations: start: {} has none; write start: pissa_fast", adapter.start));
  }
  if (!adapter::takes_from_data(start) && adapter.start_samples != adapter::AdapterConfig{}.start_samples) {
    messages.push_back(fmt::format("adapter.start_samples: start: {} reads none; write start: eva", adapter.start));
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

void check_export_names(const RunConfig& config, Messages& messages) {
  std::set<std::pair<std::string, std::string>> written;
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
  }
}

bool computes(const interop::Consumer& consumer, std::string_view axis) {
  return std::ranges::find(consumer.axes, axis) != consumer.axes.end();
}

/// What a decomposed adapter meets: an adapter has one axis, which every export must compute.
void check_axes(const RunConfig& config, const Registry<interop::Consumer>& consumers, Messages& messages) {
  const ExportSection* reads_input = nullptr;
  const ExportSection* reads_output = nullptr;
  if (!config.adapter.decompose) {
    return;
  }
  for (std::size_t i = 0; i < config.exports.size(); ++i) {
    const ExportSection& wish = config.exports[i];
    const interop::Consumer* consumer = consumers.find(wish.consumer);  // none: a mistake that is listed already
    if (consumer != nullptr && consumer->axes.empty()) {
      messages.push_back(
          fmt::format("export.{}.for: {} computes no decomposed adapter; export for merged, or train "
                      "without adapter.decompose",
                      i, wish.consumer));
    } else if (consumer != nullptr && consumer->axes.size() == 1) {
      (consumer->axes.front() == "input" ? reads_input : reads_output) = &wish;
    }
  }
  const std::string& own_axis = config.adapter.decompose->axis;
  const std::string axis(own_axis == "auto" && config.adapter.profile ? adapter::name_of(config.adapter.axis())
                                                                      : std::string_view(own_axis));
  if (reads_input != nullptr && reads_output != nullptr) {
    messages.push_back(
        fmt::format("export.0.for: {} reads the norms of input channels and {} those of output rows; an "
                    "adapter has one of them, so export for one side",
                    reads_input->consumer, reads_output->consumer));
  } else if (reads_input != nullptr && axis == "output") {
    messages.push_back(
        fmt::format("adapter.decompose.axis: {} cannot read the output axis; write axis: input, or "
                    "export for merged",
                    reads_input->consumer));
  } else if (reads_output != nullptr && axis == "input") {
    messages.push_back(
        fmt::format("adapter.decompose.axis: {} cannot read the input axis; write axis: output, or "
                    "export for merged",
                    reads_output->consumer));
  }
}

/// Every kind of adapter, and rows of added tokens, must have a place in every export.
void check_contents(const RunConfig& config, const Registry<interop::Consumer>& consumers, Messages& messages) {
  std::set<std::string> kinds{config.adapter.kind};
  for (const adapter::OverrideConfig& wish : config.adapter.overrides) {
    kinds.insert(wish.kind.value_or(config.adapter.kind));
  }
  for (std::size_t i = 0; i < config.exports.size(); ++i) {
    const interop::Consumer* consumer = consumers.find(config.exports[i].consumer);
    if (consumer == nullptr) {
      continue;
    }
    for (const std::string& kind : kinds) {
      if (!consumer->kinds.empty() && std::ranges::find(consumer->kinds, kind) == consumer->kinds.end()) {
        messages.push_back(fmt::format("export.{}.for: {} holds adapters of kind {}, not {}; export for merged", i,
                                       config.exports[i].consumer, fmt::join(consumer->kinds, " and "), kind));
      }
    }
    if (config.model.added_tokens == "train" && !consumer->added_tokens) {
      messages.push_back(fmt::format("export.{}.for: {} reads no rows of added tokens; export for peft or merged", i,
                                     config.exports[i].consumer));
    }
  }
}

}  // namespace

std::string settled_axis(const RunConfig& config, const Registry<interop::Consumer>& consumers) {
  bool wanted = false;
  for (const ExportSection& wish : config.exports) {
    const interop::Consumer* consumer = consumers.find(wish.consumer);
    if (consumer == nullptr || consumer->axes.empty()) {
      continue;
    }
    if (!computes(*consumer, "input")) {
      return "output";
    }
    wanted = wanted || consumer->axes.front() == "input";
  }
  return wanted ? "input" : "output";
}

std::vector<std::string> check(const RunConfig& config, const Registry<interop::Consumer>& consumers) {
  Messages messages;
  check_data(config, messages);
  check_run(config, messages);
  check_numbers(config, messages);
  check_optimizer(config, messages);
  check_adapter(config, messages);
  check_export_names(config, messages);
  check_axes(config, consumers, messages);
  check_contents(config, consumers, messages);
  return messages;
}

std::vector<std::string> check(const RunConfig& config) {
  return check(config, interop::consumer_registry());
}

}  // namespace dormer::train
