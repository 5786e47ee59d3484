#include "dormer/sweep/sweep_config.hpp"

#include <algorithm>

#include <fmt/ranges.h>

#include "dormer/config/write.hpp"
#include "dormer/core/error.hpp"
#include "sweep/section_rules.hpp"
#include "sweep/space_check.hpp"
#include "sweep/space_reader.hpp"
#include "sweep/wandb.hpp"

namespace dormer::sweep {
namespace {

constexpr const char* kGroup = "sweep";
constexpr const char* kSpace = "sweep.space";

/// The section as a file of its own has it.
struct SweepGroup {
  SweepSection sweep;
  void describe(config::Visitor& visitor) {
    visitor.group(kGroup, sweep,
                  "Many trials of this run, started with `dormer sweep run FILE`. `sweep.space` says what is tried "
                  "(docs/sweeps.md).");
  }
};

std::vector<config::Mistake> read_section(const config::Document& document, SweepSection& section) {
  SweepGroup group;
  SweepGroup sample;
  const std::vector<config::ForeignName> foreign = foreign_sweep_names();
  std::vector<config::Mistake> mistakes =
      config::find_mistakes(document, {.target = [&](config::Visitor& visitor) { group.describe(visitor); },
                                       .sample = [&](config::Visitor& visitor) { sample.describe(visitor); },
                                       .rules = [&] { return check(group.sweep); },
                                       .foreign_names = foreign});
  section = group.sweep;
  return mistakes;
}

bool has_held_out_data(const train::RunConfig& run) {
  return run.data.kind == "images"
             ? std::ranges::any_of(run.data.images.concepts, [](const auto& each) { return each.role == "validation"; })
             : !run.data.validation.empty();
}

bool sets_any(const std::vector<WrittenEntry>& entries, std::string_view prefix) {
  return std::ranges::any_of(entries, [&](const WrittenEntry& written) {
    const auto* parameter = std::get_if<Parameter>(&written.entry);
    const auto paths = parameter != nullptr ? parameter->paths() : std::vector{std::get<Follower>(written.entry).path};
    return std::ranges::any_of(paths, [&](const std::string& path) { return path.starts_with(prefix); });
  });
}

/// Where a key of the section is written, or the section.
config::Place place_of(const config::Member& sweep, std::initializer_list<const char*> keys) {
  const config::Member* member = &sweep;
  for (const char* key : keys) {
    const config::Member* next = member->value.find_member(key);
    if (next == nullptr) {
      break;
    }
    member = next;
  }
  return member->place;
}

/// What the section says of the run and of the space.
void check_together(const SweepConfig& config, const config::Member& sweep, const std::vector<WrittenEntry>& entries,
                    Mistakes& mistakes) {
  if (config.sweep.metric == "validation_loss" && !config.sweep.evaluate && !has_held_out_data(config.run) &&
      !sets_any(entries, "data.")) {
    mistakes.add(place_of(sweep, {"metric"}), "sweep.metric",
                 "validation_loss wants held-out data; write data.validation, or metric: loss");
  }
  const std::optional<std::int64_t>& minimum = config.sweep.stopping.minimum_steps;
  if (config.sweep.stopping.kind != "none" && minimum && config.run.run.steps && *minimum >= *config.run.run.steps &&
      !sets_any(entries, "run.steps")) {
    mistakes.add(
        place_of(sweep, {"stopping", "minimum_steps"}), "sweep.stopping.minimum_steps",
        fmt::format("{} is not below run.steps, {}: no trial could end before", *minimum, *config.run.run.steps));
  }
  for (const WrittenEntry& written : entries) {
    const auto* parameter = std::get_if<Parameter>(&written.entry);
    if (config.sweep.method == "grid" && parameter != nullptr && parameter->grid().empty()) {
      mistakes.add(written.place, written.path, "a grid takes so many values of a range; write steps: beside it");
    }
  }
}

config::Document parse(const std::filesystem::path& file, std::span<const std::string> overrides) {
  config::Document document = config::Document::parse(config::Source::from_file(file));
  for (const std::string& line : overrides) {
    document.set(line, kSpace);
  }
  return document;
}

/// What stands in the file beside the run.
struct WrittenSweep {
  config::Member section;  ///< the group, in our words, without the space
  std::vector<WrittenEntry> entries;
};

WrittenSweep take_sweep(config::Document& document, Mistakes& mistakes) {
  std::optional<config::Member> taken = document.take(kGroup);
  require(taken.has_value(), Fault::kUsage,
          "{}: it has no group 'sweep'; write what to try under 'sweep: {{space: …}}', or start one run with 'dormer "
          "train {}'",
          document.name, document.name);
  const bool wandb = taken->value.find("space") == nullptr && taken->value.find("parameters") != nullptr;
  WrittenSweep sweep{.section = std::move(*taken), .entries = {}};
  translate_wandb(sweep.section.value, mistakes);
  const auto is_space = [](const config::Member& member) { return member.key == "space"; };
  std::vector<config::Member>& members = sweep.section.value.members;
  const auto space = std::ranges::find_if(members, is_space);
  if (sweep.section.value.kind == config::Node::Kind::kMap && space == members.end()) {
    mistakes.add(sweep.section.place, kSpace, "is missing: the paths to vary and what to try there");
  } else if (space != members.end()) {
    sweep.entries = read_space(space->value, wandb ? "sweep.parameters" : kSpace, mistakes);
    members.erase(space);
    if (const auto second = std::ranges::find_if(members, is_space); second != members.end()) {
      mistakes.add(second->place, kSpace, "stands here a second time");
      std::erase_if(members, is_space);
    }
  }
  return sweep;
}

/// The group as a file of its own.
config::Document section_alone(const config::Document& document, const config::Member& section) {
  config::Document alone{.name = document.name, .overrides = document.overrides, .root = {}};
  alone.root.kind = config::Node::Kind::kMap;
  alone.root.members = {section};
  return alone;
}

}  // namespace

SweepConfig load_sweep_config(const std::filesystem::path& file, std::span<const std::string> overrides) {
  SweepConfig config;
  config.document = parse(file, overrides);
  Mistakes mistakes;
  const WrittenSweep written = take_sweep(config.document, mistakes);
  check_values(config.document, written.entries, mistakes);
  mistakes.add_all(train::read_run_config(config.document, config.run));
  mistakes.add_all(read_section(section_alone(config.document, written.section), config.sweep));
  if (!mistakes.any()) {
    check_together(config, written.section, written.entries, mistakes);
  }
  if (!mistakes.any()) {
    config.space = space_of(written.entries);
    check_points(config, written.entries, mistakes);
  }
  config::refuse(config.document, mistakes.all());
  return config;
}

train::RunConfig trial_config(const SweepConfig& config, const Point& point, std::int64_t replica) {
  config::Document document = config.document;
  train::RunConfig run;
  std::vector<std::string> messages;
  try {
    for (const Setting& setting : point) {
      document.set(setting.path + "=" + setting.text);
    }
    for (const config::Mistake& mistake : train::read_run_config(document, run)) {
      messages.push_back(fmt::format("{}: {}", mistake.path, mistake.text));
    }
  } catch (const Error& error) {
    messages.emplace_back(error.what());
  }
  require(messages.empty(), Fault::kUsage, "point {}: {}", text_of(point), fmt::join(messages, "; "));
  run.run.seed += replica;
  return run;
}

std::int64_t point_count(const SweepConfig& config) {
  if (config.sweep.method != "grid") {
    return config.sweep.trials.value_or(1);
  }
  const std::int64_t all = config.space.grid_points().value_or(1);
  return std::min(config.sweep.trials.value_or(all), all);
}

std::string configuration_section() {
  SweepGroup sample;
  return config::reference_markdown(config::list_keys([&](config::Visitor& visitor) { sample.describe(visitor); }));
}

}  // namespace dormer::sweep
