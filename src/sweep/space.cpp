#include "dormer/sweep/space.hpp"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <map>
#include <utility>

#include <fmt/ranges.h>

#include "dormer/core/error.hpp"
#include "sweep/order.hpp"
#include "sweep/values.hpp"

namespace dormer::sweep {
namespace {

const std::vector<Condition>& conditions_of(const Space::Entry& entry) {
  return std::visit([](const auto& each) -> const std::vector<Condition>& { return each.when; }, entry);
}

std::vector<std::string> paths_of(const Space::Entry& entry) {
  const auto* parameter = std::get_if<Parameter>(&entry);
  return parameter != nullptr ? parameter->paths() : std::vector{std::get<Follower>(entry).path};
}

std::vector<std::string> needs_of(const Space::Entry& entry) {
  std::vector<std::string> paths;
  for (const Condition& condition : conditions_of(entry)) {
    paths.push_back(condition.path);
  }
  if (const auto* follower = std::get_if<Follower>(&entry)) {
    paths.insert(paths.end(), follower->names.begin(), follower->names.end());
  }
  return paths;
}

const Setting* find(const Point& point, std::string_view path) {
  const auto found = std::ranges::find(point, path, &Setting::path);
  return found == point.end() ? nullptr : &*found;
}

/// What a follower sets beside `point`; nothing where a name of its expression has no value.
std::optional<Setting> setting_of(const Follower& follower, const Point& point) {
  if (follower.expression.absent()) {
    return Setting{follower.path, follower.text};
  }
  std::map<std::string, double> values;
  for (const std::string& name : follower.names) {
    const Setting* setting = find(point, name);
    const std::optional<double> value = setting == nullptr ? std::nullopt : number_of(setting->text);
    if (!value) {
      return std::nullopt;
    }
    values[name] = *value;
  }
  return Setting{follower.path, number_text(follower.expression.evaluate(values))};
}

}  // namespace

Space::Space(std::vector<Entry> entries) : entries_(std::move(entries)) {
  std::map<std::string, std::size_t> entry_of;
  for (std::size_t entry = 0; entry < entries_.size(); ++entry) {
    for (const std::string& path : paths_of(entries_[entry])) {
      entry_of[path] = entry;
    }
    parameter_index_.push_back(parameters_.size());
    if (const Parameter* parameter = parameter_of(entry)) {
      parameters_.push_back(*parameter);
    }
  }
  std::vector<std::vector<std::size_t>> needs(entries_.size());
  for (std::size_t entry = 0; entry < entries_.size(); ++entry) {
    for (const std::string& path : needs_of(entries_[entry])) {
      const auto found = entry_of.find(path);
      invariant(found != entry_of.end(), "the space refers to {}, which it does not hold", path);
      needs[entry].push_back(found->second);
    }
  }
  const std::optional<std::vector<std::size_t>> order = order_by_needs(needs);
  invariant(order.has_value(), "the conditions or expressions of the space are circular");
  order_ = *order;
  for (const Parameter& parameter : parameters_) {
    axes_.push_back(axis_of(parameter));
  }
}

bool Space::present(std::size_t entry, const Point& known) const {
  return std::ranges::all_of(conditions_of(entries_[entry]),
                             [&](const Condition& condition) { return condition.holds(known); });
}

void Space::append_settings(std::size_t entry, double coordinate, Point& known) const {
  if (const Parameter* parameter = parameter_of(entry)) {
    std::ranges::move(parameter->settings(coordinate), std::back_inserter(known));
  } else if (auto setting = setting_of(std::get<Follower>(entries_[entry]), known)) {
    known.push_back(std::move(*setting));
  }
}

Point Space::composed(const std::function<void(std::size_t entry, Point& known)>& append) const {
  Point known;
  std::vector<std::pair<std::size_t, std::size_t>> range(entries_.size());  // of an entry's settings in `known`
  for (const std::size_t entry : order_) {
    const std::size_t begin = known.size();
    if (present(entry, known)) {
      append(entry, known);
    }
    range[entry] = {begin, known.size()};
  }
  Point point;
  for (const auto& [begin, end] : range) {
    point.insert(point.end(), known.begin() + static_cast<std::ptrdiff_t>(begin),
                 known.begin() + static_cast<std::ptrdiff_t>(end));
  }
  return point;
}

Point Space::at(std::span<const double> coordinates) const {
  invariant(coordinates.size() == parameters_.size(), "{} coordinates of {} parameters", coordinates.size(),
            parameters_.size());
  return composed([&](std::size_t entry, Point& known) {
    append_settings(entry, parameter_of(entry) == nullptr ? 0.0 : coordinates[parameter_index_[entry]], known);
  });
}

Point Space::completed(const Point& given) const {
  std::vector<std::string> missing;
  const Point point = composed([&](std::size_t entry, Point& known) {
    if (parameter_of(entry) == nullptr) {
      append_settings(entry, 0.0, known);
      return;
    }
    for (const std::string& path : parameter_of(entry)->paths()) {
      const Setting* setting = find(given, path);
      if (setting == nullptr) {
        missing.push_back(path);
      } else {
        known.push_back(*setting);
      }
    }
  });
  require(missing.empty(), Fault::kUsage, "the point has no {}", fmt::join(missing, " and no "));
  std::vector<std::string> strange;
  for (const Setting& setting : given) {
    const Setting* found = find(point, setting.path);
    if (found == nullptr || found->text != setting.text) {
      strange.push_back(setting.path);
    }
  }
  require(strange.empty(), Fault::kUsage, "{}: the sweep's space does not leave that open at this point",
          fmt::join(strange, ", "));
  return point;
}

std::optional<double> Space::coordinate(std::size_t parameter, const Point& point) const {
  const Parameter& dimension = parameters_.at(parameter);
  if (dimension.kind != Parameter::Kind::kOptions) {
    const Setting* setting = find(point, dimension.name);
    const std::optional<double> value = setting == nullptr ? std::nullopt : number_of(setting->text);
    const bool fits = value && *value >= dimension.low && *value <= dimension.high;
    if (!fits || (dimension.kind == Parameter::Kind::kWhole && *value != std::round(*value))) {
      return std::nullopt;
    }
    const double index = dimension.step > 0.0 ? (*value - dimension.low) / dimension.step : 0.0;
    return std::abs(index - std::round(index)) < 1e-6 ? value : std::nullopt;
  }
  for (std::size_t index = 0; index < dimension.options.size(); ++index) {
    const bool all = std::ranges::all_of(dimension.options[index].settings, [&](const Setting& setting) {
      const Setting* found = find(point, setting.path);
      return found != nullptr && same_value(found->text, setting.text);
    });
    if (all) {
      return static_cast<double>(index);
    }
  }
  return std::nullopt;
}

bool Space::holds(const Point& point) const {
  std::vector<double> coordinates;
  for (std::size_t index = 0; index < parameters_.size(); ++index) {
    coordinates.push_back(coordinate(index, point).value_or(parameters_[index].low));
  }
  const Point expected = at(coordinates);
  return expected.size() == point.size() && std::ranges::all_of(expected, [&](const Setting& setting) {
           const Setting* found = find(point, setting.path);
           return found != nullptr && same_value(found->text, setting.text);
         });
}

std::vector<std::string> Space::description() const {
  std::vector<std::string> lines;
  for (const Entry& entry : entries_) {
    if (const auto* parameter = std::get_if<Parameter>(&entry)) {
      lines.push_back(parameter->description());
      continue;
    }
    const Follower& follower = std::get<Follower>(entry);
    lines.push_back(fmt::format("{}: {}{}", follower.path, follower.expression.absent() ? "always " : "= ",
                                follower.expression.absent() ? follower.text : follower.expression.text) +
                    text_of(follower.when));
  }
  return lines;
}

}  // namespace dormer::sweep
