#include "sweep/space_check.hpp"

#include <algorithm>
#include <array>
#include <set>

#include "dormer/core/error.hpp"
#include "sweep/draw.hpp"

namespace dormer::sweep {
namespace {

constexpr std::uint64_t kPoints = 64;  // that are tried before a value is held for impossible
constexpr int kMostImpossible = 10;    // values that are told; each costs as many points
/// Keys that a sweep sets itself.
constexpr std::array<std::string_view, 2> kOwned{"run.directory", "run.resume"};

/// The settings that a value of an entry stands for.
std::vector<Point> values_of(const Space::Entry& entry) {
  std::vector<Point> values;
  if (const auto* parameter = std::get_if<Parameter>(&entry)) {
    if (parameter->kind != Parameter::Kind::kOptions) {
      return {parameter->settings(parameter->low), parameter->settings(parameter->high)};
    }
    for (const Option& option : parameter->options) {
      values.push_back(option.settings);
    }
    return values;
  }
  const Follower& follower = std::get<Follower>(entry);
  return {{{follower.path, follower.text}}};
}

struct Complaint {
  bool of_path;  ///< no run has the key, whatever its value
  std::string text;
};

/// What the run's keys say to one setting alone. null, and what is derived (an empty text), have a path alone to be
/// looked at.
std::vector<Complaint> complaints(const config::Document& document, const Setting& setting) {
  const bool path_alone = setting.text.empty() || setting.text == "null";
  const std::string line = setting.path + "=" + (path_alone ? "1" : setting.text);
  config::Document changed = document;
  try {
    changed.set(line);
  } catch (const Error& error) {
    const std::string message = error.what();
    const std::string prefix = "--set " + line + ": ";
    return {{true, message.starts_with(prefix) ? message.substr(prefix.size()) : message}};
  }
  train::RunConfig run;
  std::vector<Complaint> result;
  const int index = static_cast<int>(document.overrides.size());
  for (const config::Mistake& mistake : train::read_run_config(changed, run, train::Checks::kValues)) {
    const bool at_path = mistake.path == setting.path;
    const bool of_path = mistake.text.starts_with("unknown key") && setting.path.starts_with(mistake.path);
    if (mistake.place.override_index == index && (of_path || !path_alone)) {
      result.push_back({of_path, at_path ? mistake.text : fmt::format("{}: {}", mistake.path, mistake.text)});
    }
  }
  return result;
}

/// Tries points of the space until one can be run.
class Points {
 public:
  explicit Points(const SweepConfig& config) : config_(config) {}

  /// Why none can; nothing where one can, or none was found. With a parameter, only points that have it, at this
  /// coordinate.
  [[nodiscard]] std::optional<std::string> refusal(std::optional<std::size_t> parameter = std::nullopt,
                                                   double coordinate = 0.0) const {
    std::optional<std::string> first;
    int tried = 0;
    for (std::uint64_t index = 0; index < kPoints; ++index) {
      std::vector<double> coordinates = random_coordinates(config_.space, RandomKey{0}.child(index));
      if (parameter) {
        coordinates[*parameter] = coordinate;
      }
      try {
        const Point point = config_.space.at(coordinates);
        if (parameter && !config_.space.coordinate(*parameter, point)) {
          continue;
        }
        static_cast<void>(trial_config(config_, point, 0));
        return std::nullopt;
      } catch (const Error& error) {
        if (error.fault() != Fault::kUsage) {
          throw;
        }
        first = first.value_or(error.what());
        ++tried;
      }
    }
    return first ? std::optional(fmt::format("no run can be made of any of {} points{}; the first: {}", tried,
                                             parameter ? " that have it" : "", *first))
                 : std::nullopt;
  }

 private:
  const SweepConfig& config_;
};

}  // namespace

void check_values(const config::Document& document, const std::vector<WrittenEntry>& entries, Mistakes& mistakes) {
  for (const WrittenEntry& written : entries) {
    std::set<std::string> said;  // a path that no run has is one mistake, however many values it has
    const std::vector<Point> values = values_of(written.entry);
    for (std::size_t index = 0; index < values.size(); ++index) {
      for (const Setting& setting : values[index]) {
        if (std::ranges::find(kOwned, setting.path) != kOwned.end()) {
          if (said.insert(setting.path).second) {
            mistakes.add(written.place, written.path,
                         fmt::format("{} is the sweep's to set, another for every trial", setting.path));
          }
          continue;
        }
        for (const Complaint& complaint : complaints(document, setting)) {
          if (said.insert(complaint.of_path ? setting.path : setting.text + complaint.text).second) {
            mistakes.add(complaint.of_path ? written.place : written.values[index], written.path, complaint.text);
          }
        }
      }
    }
  }
}

void check_points(const SweepConfig& config, const std::vector<WrittenEntry>& entries, Mistakes& mistakes) {
  const Points points(config);
  if (entries.empty()) {
    return;
  }
  if (const std::optional<std::string> refusal = points.refusal()) {
    mistakes.add(entries.front().place, "sweep.space", *refusal);
    return;
  }
  std::size_t parameter = 0;
  int impossible = 0;
  for (const WrittenEntry& written : entries) {
    const auto* dimension = std::get_if<Parameter>(&written.entry);
    if (dimension == nullptr) {
      continue;
    }
    for (std::size_t index = 0; index < written.values.size() && impossible < kMostImpossible; ++index) {
      const bool options = dimension->kind == Parameter::Kind::kOptions;
      const double coordinate = options ? static_cast<double>(index) : index == 0 ? dimension->low : dimension->high;
      if (const std::optional<std::string> refusal = points.refusal(parameter, coordinate)) {
        ++impossible;
        mistakes.add(written.values[index], written.path,
                     fmt::format("{}: {}", dimension->label(coordinate), *refusal));
      }
    }
    ++parameter;
  }
}

}  // namespace dormer::sweep
