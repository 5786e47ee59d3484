#include <algorithm>
#include <cmath>
#include <map>

#include <fmt/ranges.h>

#include "dormer/core/nearest_name.hpp"
#include "sweep/order.hpp"
#include "sweep/space_reader.hpp"
#include "sweep/values.hpp"

namespace dormer::sweep {
namespace {

const Parameter* parameter_of(const WrittenEntry& written) {
  return std::get_if<Parameter>(&written.entry);
}

std::vector<std::string> paths_of(const WrittenEntry& written) {
  const Parameter* parameter = parameter_of(written);
  return parameter != nullptr ? parameter->paths() : std::vector{std::get<Follower>(written.entry).path};
}

/// Whether `path` lies below `group`.
bool is_below(std::string_view path, std::string_view group) {
  return path.size() > group.size() && path.starts_with(group) && path[group.size()] == '.';
}

/// Checks what entries say of each other.
class References {
 public:
  References(std::vector<WrittenEntry>& entries, Mistakes& mistakes) : entries_(entries), mistakes_(mistakes) {}

  void settle() {
    find_paths();
    for (WrittenEntry& written : entries_) {
      if (auto* follower = std::get_if<Follower>(&written.entry)) {
        settle_follower(written, *follower);
      }
    }
    for (const WrittenEntry& written : entries_) {
      check_conditions(written);
    }
    if (!mistakes_.any()) {
      check_circles();
    }
  }

 private:
  void find_paths() {
    for (std::size_t index = 0; index < entries_.size(); ++index) {
      for (const std::string& path : paths_of(entries_[index])) {
        for (const auto& [other, entry] : entry_of_) {
          const int line = entries_[entry].place.line;
          if (other == path) {
            mistakes_.add(entries_[index].place, entries_[index].path,
                          fmt::format("{} stands here a second time; the first is in line {}", path, line));
          } else if (is_below(path, other) || is_below(other, path)) {
            const bool inner = is_below(path, other);
            mistakes_.add(entries_[index].place, entries_[index].path,
                          fmt::format("{} is a part of {} (line {}); write one of them", inner ? path : other,
                                      inner ? other : path, line));
          }
        }
        entry_of_.emplace(path, index);
        paths_.push_back(path);
      }
    }
  }

  /// A scalar is an expression where its names are paths of the space.
  void settle_follower(const WrittenEntry& written, Follower& follower) {
    const std::vector<std::string> names = follower.expression.names().value_or(std::vector<std::string>{});
    const auto known = [&](const std::string& name) { return entry_of_.contains(name); };
    const bool derived = std::ranges::any_of(names, known);
    bool meant = derived;
    for (const std::string& name : names) {
      const std::string nearest = did_you_mean(name, paths_);
      if (!known(name) && (derived || (name.find('.') != std::string::npos && !nearest.empty()))) {
        meant = true;
        mistakes_.add(written.place, written.path,
                      fmt::format("'{}' is no path of the space{}", name,
                                  nearest.empty() ? "; an expression is over paths that are tried" : nearest));
      } else if (known(name)) {
        check_numbers(written, name);
      }
    }
    if (!meant) {
      follower.expression = {};
      return;
    }
    follower.text.clear();
    follower.names = names;
  }

  /// What an expression is over must be numbers.
  void check_numbers(const WrittenEntry& written, const std::string& name) {
    for (const std::string& text : texts_at(name)) {
      if (!number_of(text)) {
        mistakes_.add(written.place, written.path, fmt::format("{} can be {}, which is no number", name, text));
        return;
      }
    }
  }

  /// The values that a path can take; none for numbers of a range and for what is derived.
  [[nodiscard]] std::vector<std::string> texts_at(const std::string& path) const {
    const WrittenEntry& written = entries_[entry_of_.at(path)];
    std::vector<std::string> texts;
    if (const Parameter* parameter = parameter_of(written)) {
      for (const Option& option : parameter->options) {
        for (const Setting& setting : option.settings) {
          if (setting.path == path) {
            texts.push_back(setting.text);
          }
        }
      }
    } else if (const auto& follower = std::get<Follower>(written.entry); follower.expression.absent()) {
      texts.push_back(follower.text);
    }
    return texts;
  }

  void check_conditions(const WrittenEntry& written) {
    const auto& conditions =
        std::visit([](const auto& each) -> const std::vector<Condition>& { return each.when; }, written.entry);
    for (std::size_t index = 0; index < conditions.size(); ++index) {
      check_condition(written, conditions[index], written.when[index]);
    }
  }

  void check_condition(const WrittenEntry& written, const Condition& condition, config::Place place) {
    const auto found = entry_of_.find(condition.path);
    if (found == entry_of_.end()) {
      mistakes_.add(
          place, written.path,
          fmt::format("when: '{}' is no path of the space{}", condition.path, did_you_mean(condition.path, paths_)));
      return;
    }
    const WrittenEntry& other = entries_[found->second];
    const Parameter* parameter = parameter_of(other);
    const auto* follower = std::get_if<Follower>(&other.entry);
    if ((follower != nullptr && !follower->expression.absent()) ||
        (parameter != nullptr && parameter->kind == Parameter::Kind::kReal && parameter->step == 0.0)) {
      mistakes_.add(place, written.path,
                    fmt::format("when: {} is {}; a condition is on one of a list or on a whole number", condition.path,
                                parameter == nullptr ? "derived" : "any number of a range"));
      return;
    }
    for (const std::string& value : condition.values) {
      if (!can_be(condition.path, value)) {
        const std::vector<std::string> texts = texts_at(condition.path);
        mistakes_.add(place, written.path,
                      fmt::format("when: {} is never {}{}", condition.path, value,
                                  texts.empty() ? "" : fmt::format("; it is {}", fmt::join(texts, " or "))));
      }
    }
  }

  [[nodiscard]] bool can_be(const std::string& path, const std::string& value) const {
    const WrittenEntry& written = entries_[entry_of_.at(path)];
    const Parameter* parameter = parameter_of(written);
    if (parameter == nullptr || parameter->kind == Parameter::Kind::kOptions) {
      return std::ranges::any_of(texts_at(path), [&](const std::string& text) { return same_value(text, value); });
    }
    Parameter alone = *parameter;
    alone.when.clear();
    return Space({std::move(alone)}).coordinate(0, {{path, value}}).has_value();
  }

  void check_circles() {
    std::vector<std::vector<std::size_t>> needs(entries_.size());
    for (std::size_t index = 0; index < entries_.size(); ++index) {
      std::visit(
          [&](const auto& each) {
            for (const Condition& condition : each.when) {
              needs[index].push_back(entry_of_.at(condition.path));
            }
          },
          entries_[index].entry);
      if (const auto* follower = std::get_if<Follower>(&entries_[index].entry)) {
        for (const std::string& name : follower->names) {
          needs[index].push_back(entry_of_.at(name));
        }
      }
    }
    for (std::size_t index = 0; index < entries_.size(); ++index) {
      if (reaches(needs, index, index)) {
        mistakes_.add(entries_[index].place, entries_[index].path,
                      "depends on itself, through its expression or condition; let one of the circle be free");
        return;
      }
    }
  }

  [[nodiscard]] static bool reaches(const std::vector<std::vector<std::size_t>>& needs, std::size_t from,
                                    std::size_t target) {
    std::vector<bool> seen(needs.size(), false);
    std::vector<std::size_t> open{from};
    while (!open.empty()) {
      const std::size_t next = open.back();
      open.pop_back();
      for (const std::size_t need : needs[next]) {
        if (need == target) {
          return true;
        }
        if (!seen[need]) {
          seen[need] = true;
          open.push_back(need);
        }
      }
    }
    return false;
  }

  std::vector<WrittenEntry>& entries_;
  Mistakes& mistakes_;
  std::map<std::string, std::size_t> entry_of_;
  std::vector<std::string> paths_;
};

}  // namespace

void settle_references(std::vector<WrittenEntry>& entries, Mistakes& mistakes) {
  References(entries, mistakes).settle();
}

}  // namespace dormer::sweep
