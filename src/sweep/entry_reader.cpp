#include "sweep/entry_reader.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <set>
#include <utility>

#include <fmt/ranges.h>

#include "dormer/core/nearest_name.hpp"
#include "sweep/values.hpp"

namespace dormer::sweep {
namespace {

using config::Member;
using config::Node;

constexpr double kMostSteps = 1e6;
constexpr std::size_t kLongestPath = 200;
constexpr std::size_t kLongestValue = 4096;
constexpr double kLargestWhole = 9.007199254740992e15;
constexpr const char* kForms =
    "write a list, {choice: […]}, {log: [lowest, highest]}, {uniform: [lowest, highest]} or {int: [lowest, highest]}";
const std::vector<std::string> kKeys{"choice", "log", "uniform", "int", "value", "step", "steps", "when"};
/// What other programs call them.
constexpr std::array<std::pair<std::string_view, std::string_view>, 12> kForeign{{
    {"values", "choice: […]"},
    {"categorical", "choice: […]"},
    {"grid_search", "choice: […]"},
    {"loguniform", "log: [lowest, highest]"},
    {"log_uniform", "log: [lowest, highest]"},
    {"quniform", "uniform: [lowest, highest], step: …"},
    {"randint", "int: [lowest, highest]; the highest is one of them"},
    {"min", "uniform: [lowest, highest]"},
    {"max", "uniform: [lowest, highest]"},
    {"low", "uniform: [lowest, highest]"},
    {"high", "uniform: [lowest, highest]"},
    {"distribution", "log, uniform or int: [lowest, highest]"},
}};

bool is_plain(const Node& node) {
  return node.kind == Node::Kind::kScalar && !node.quoted;
}

std::optional<double> number_in(const Node& node) {
  return is_plain(node) ? number_of(node.text) : std::nullopt;
}

std::string label_of(const Node& node) {
  return node.kind == Node::Kind::kScalar && !node.quoted ? node.text : config::flow_text(node);
}

/// Whether paths and values are such as anybody writes: each is read many times.
bool has_usual_size(const Member& member, const std::string& path, Mistakes& mistakes) {
  if (member.key.size() > kLongestPath) {
    mistakes.add(member.place, path,
                 fmt::format("a path of {} characters; at most {}", member.key.size(), kLongestPath));
    return false;
  }
  const std::vector<Node> alone{member.value};
  const bool list = member.value.kind == Node::Kind::kSequence;
  for (const Node& item : list ? member.value.items : alone) {
    if (const std::size_t size = config::flow_text(item).size(); size > kLongestValue) {
      mistakes.add(item.place, path, fmt::format("a value of {} characters; at most {}", size, kLongestValue));
      return false;
    }
  }
  return true;
}

/// Reads one entry whose form is a map or a list.
class EntryReader {
 public:
  EntryReader(WrittenEntry& written, std::string name, Mistakes& mistakes)
      : written_(written), name_(std::move(name)), mistakes_(mistakes) {}

  /// Whether it could be read.
  bool read(const Node& node) {
    if (node.kind == Node::Kind::kSequence) {
      return read_options(node);
    }
    return node.kind == Node::Kind::kMap ? read_map(node) : read_follower(node);
  }

 private:
  bool reject(const Node& node, std::string text) {
    mistakes_.add(node.place, written_.path, std::move(text));
    return false;
  }

  bool read_follower(const Node& node) {
    Follower follower{.path = name_, .text = config::flow_text(node), .expression = {}, .names = {}, .when = when_};
    if (is_plain(node)) {
      follower.expression.text = node.text;
    }
    written_.values = {node.place};
    written_.entry = std::move(follower);
    return true;
  }

  bool read_options(const Node& node) {
    if (node.items.empty()) {
      return reject(node, "the list is empty; write the values to try");
    }
    Parameter parameter{.name = name_, .when = when_};
    std::set<std::string> seen;
    for (const Node& item : node.items) {
      const std::string text = config::flow_text(item);
      const std::optional<double> number = number_of(text);
      if (!seen.insert(number ? number_text(*number) : text).second) {
        return reject(item, fmt::format("{} stands in the list a second time", text));
      }
      parameter.options.push_back({.settings = {{name_, text}}, .label = label_of(item)});
      written_.values.push_back(item.place);
    }
    written_.entry = std::move(parameter);
    return true;
  }

  bool read_map(const Node& node) {
    if (!check_keys(node) || !read_conditions(node)) {
      return false;
    }
    std::vector<const Member*> forms;
    for (const Member& member : node.members) {
      const bool flag = member.key == "log" && is_flag(member.value);
      if (!flag && member.key != "step" && member.key != "steps" && member.key != "when") {
        forms.push_back(&member);
      }
    }
    if (forms.size() != 1) {
      return reject(node, forms.empty() ? fmt::format("says nothing to try; {}", kForms)
                                        : fmt::format("{} and {} exclude each other; write one of them", forms[0]->key,
                                                      forms[1]->key));
    }
    const bool range = forms[0]->key != "choice" && forms[0]->key != "value";
    for (const char* key : {"step", "steps", "log"}) {
      const Member* member = node.find_member(key);
      if (!range && member != nullptr) {
        return reject(member->value, fmt::format("{} goes with a range of numbers, not with {}", key, forms[0]->key));
      }
    }
    if (forms[0]->key == "choice") {
      return forms[0]->value.kind == Node::Kind::kSequence
                 ? read_options(forms[0]->value)
                 : reject(forms[0]->value, fmt::format("choice is a list of values, not {}", shown(forms[0]->value)));
    }
    if (forms[0]->key == "value") {
      return forms[0]->value.kind == Node::Kind::kSequence
                 ? reject(forms[0]->value, "value is one value; write choice: […]")
                 : read_follower(forms[0]->value);
    }
    return read_range(node, *forms[0]);
  }

  static bool is_flag(const Node& node) { return node.text == "true" || node.text == "false"; }

  bool check_keys(const Node& node) {
    bool good = true;
    std::vector<std::string> seen;
    for (const Member& member : node.members) {
      if (std::ranges::find(seen, member.key) != seen.end()) {
        mistakes_.add(member.place, written_.path, fmt::format("{} stands here a second time", member.key));
        good = false;
      }
      seen.push_back(member.key);
      if (std::ranges::find(kKeys, member.key) != kKeys.end()) {
        continue;
      }
      good = false;
      mistakes_.add(member.place, written_.path, fmt::format("unknown key '{}'{}", member.key, advice_for(member.key)));
    }
    return good;
  }

  [[nodiscard]] std::string advice_for(const std::string& key) const {
    for (const auto& [foreign, ours] : kForeign) {
      if (foreign == key) {
        return fmt::format("; write {}", ours);
      }
    }
    if (name_.find('.') == std::string::npos) {
      return fmt::format("; a path is written with dots: '{}.{}: …'", name_, key);
    }
    const std::string nearest = did_you_mean(key, kKeys);
    return nearest.empty() ? fmt::format("; {}", kForms) : nearest;
  }

  bool read_conditions(const Node& node) {
    const Node* when = node.find("when");
    if (when == nullptr) {
      return true;
    }
    if (when->kind != Node::Kind::kMap || when->members.empty()) {
      return reject(*when,
                    fmt::format("when is a map of a path and its values, {{path: value}}, not {}", shown(*when)));
    }
    for (const Member& member : when->members) {
      Condition condition{.path = member.key, .values = {}};
      if (member.value.kind == Node::Kind::kSequence) {
        for (const Node& item : member.value.items) {
          condition.values.push_back(config::flow_text(item));
        }
      } else {
        condition.values.push_back(config::flow_text(member.value));
      }
      if (condition.values.empty()) {
        return reject(member.value, fmt::format("when {} has no value at all", member.key));
      }
      when_.push_back(std::move(condition));
      written_.when.push_back(member.place);
    }
    return true;
  }

  bool read_range(const Node& node, const Member& form) {
    const std::vector<Node>& ends = form.value.items;
    if (form.value.kind != Node::Kind::kSequence || ends.size() != 2 || !number_in(ends[0]) || !number_in(ends[1])) {
      return reject(form.value, fmt::format("{} is [lowest, highest], two numbers", form.key));
    }
    const Node* flag = node.find("log");
    Parameter parameter{.name = name_,
                        .kind = form.key == "int" ? Parameter::Kind::kWhole : Parameter::Kind::kReal,
                        .logarithmic = form.key == "log" || (flag != nullptr && flag->text == "true"),
                        .low = *number_in(ends[0]),
                        .high = *number_in(ends[1]),
                        .when = when_};
    for (const Node& end : ends) {
      const double value = *number_in(end);
      if (parameter.logarithmic && value <= 0.0) {
        return reject(end, fmt::format("{} has no logarithm; a logarithmic range lies above 0", end.text));
      }
      if (parameter.kind == Parameter::Kind::kWhole &&
          (value != std::round(value) || std::abs(value) > kLargestWhole)) {
        return reject(end, fmt::format("{} is not a whole number", end.text));
      }
    }
    if (!(parameter.low < parameter.high)) {
      return reject(form.value,
                    fmt::format("the lowest, {}, is not below the highest, {}", ends[0].text, ends[1].text));
    }
    if (!std::isfinite(parameter.high - parameter.low)) {
      return reject(form.value, "the range is wider than any number");
    }
    written_.values = {ends[0].place, ends[1].place};
    if (!read_steps(node, parameter)) {
      return false;
    }
    written_.entry = std::move(parameter);
    return true;
  }

  bool read_steps(const Node& node, Parameter& parameter) {
    const bool whole = parameter.kind == Parameter::Kind::kWhole;
    parameter.step = whole ? 1.0 : 0.0;
    if (const Node* steps = node.find("steps")) {
      const std::optional<double> count = number_in(*steps);
      if (!count || *count != std::round(*count) || *count < 2.0 || *count > 1e4) {
        return reject(*steps, fmt::format("steps, the values of a grid, is a whole number from 2 to 10000, not {}",
                                          shown(*steps)));
      }
      parameter.steps = static_cast<std::int64_t>(*count);
    }
    const Node* step = node.find("step");
    if (step == nullptr) {
      return true;
    }
    const std::optional<double> width = number_in(*step);
    if (!width || *width <= 0.0 || (whole && *width != std::round(*width))) {
      return reject(*step, fmt::format("step is a {}number above 0, not {}", whole ? "whole " : "", shown(*step)));
    }
    if (parameter.logarithmic || parameter.steps) {
      return reject(*step, parameter.steps ? "step and steps exclude each other; write one of them"
                                           : "a logarithmic range has no step; write a list, or steps: for a grid");
    }
    const double count = std::floor((parameter.high - parameter.low) / *width + 1e-9);
    const bool lost = !whole && twelve_digits(parameter.low + *width) == twelve_digits(parameter.low);
    if (count < 1.0 || lost || (!whole && count > kMostSteps)) {
      return reject(*step, count < 1.0 ? "step is wider than the range"
                           : lost      ? "step is lost beside numbers of twelve digits; leave it out"
                                       : "more than a million steps; leave step out");
    }
    parameter.step = *width;
    parameter.high = twelve_digits(parameter.low + count * *width);
    return true;
  }

  WrittenEntry& written_;
  std::string name_;
  std::vector<Condition> when_;
  Mistakes& mistakes_;
};

}  // namespace

std::optional<WrittenEntry> read_entry(const Member& member, const std::string& prefix, Mistakes& mistakes) {
  WrittenEntry written{.entry = Follower{}, .path = prefix + "." + member.key, .place = member.place};
  if (member.key.size() > kLongestPath) {
    written.path = prefix;
  }
  EntryReader reader(written, member.key, mistakes);
  const bool form = member.value.kind == Node::Kind::kMap;  // whose values are looked at one by one
  const auto usual = [&](const Member& each) { return has_usual_size(each, written.path, mistakes); };
  if (!usual(form ? Member{member.key, member.place, {}} : member) ||
      (form && !std::ranges::all_of(member.value.members, usual))) {
    return std::nullopt;
  }
  return reader.read(member.value) ? std::optional(std::move(written)) : std::nullopt;
}

std::optional<WrittenEntry> read_zip_group(const Node& group, const std::string& path, Mistakes& mistakes) {
  WrittenEntry written{.entry = Follower{}, .path = path, .place = group.place};
  if (group.kind != Node::Kind::kMap || group.members.empty()) {
    mistakes.add(group.place, path,
                 fmt::format("a group is a map of paths and lists that move together, not {}", shown(group)));
    return std::nullopt;
  }
  Parameter parameter;
  std::optional<std::size_t> length;
  for (const Member& member : group.members) {
    const std::vector<Node>& items = member.value.items;
    if (!has_usual_size(member, path, mistakes)) {
      return std::nullopt;
    }
    if (member.value.kind != Node::Kind::kSequence || items.empty()) {
      mistakes.add(member.place, path,
                   fmt::format("{} is a list of values, not {}", member.key,
                               items.empty() ? "an empty one" : shown(member.value)));
      return std::nullopt;
    }
    if (length.value_or(items.size()) != items.size()) {
      mistakes.add(member.place, path,
                   fmt::format("{} has {} values, {} has {}; those of a group move together", member.key, items.size(),
                               group.members.front().key, *length));
      return std::nullopt;
    }
    length = items.size();
    parameter.options.resize(items.size());
    for (std::size_t index = 0; index < items.size(); ++index) {
      Option& option = parameter.options[index];
      option.settings.push_back({member.key, config::flow_text(items[index])});
      option.label += (option.label.empty() ? "" : " | ") + label_of(items[index]);
    }
    parameter.name += (parameter.name.empty() ? "" : "+") + member.key;
  }
  for (const Node& item : group.members.front().value.items) {
    written.values.push_back(item.place);
  }
  written.entry = std::move(parameter);
  return written;
}

}  // namespace dormer::sweep
