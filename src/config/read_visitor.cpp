#include "config/read_visitor.hpp"

#include <algorithm>

#include <fmt/ranges.h>

#include "dormer/config/write.hpp"
#include "dormer/core/nearest_name.hpp"

namespace dormer::config {

ReadVisitor::ReadVisitor(const Node& root, Names names, Diagnostics& diagnostics)
    : names_(names), diagnostics_(diagnostics) {
  frames_.push_back({.node = &root, .path = "", .place = root.place, .visited = true, .required = true, .known = {}});
}

std::string ReadVisitor::path_to(std::string_view name) const {
  const std::string& path = frames_.back().path;
  return path.empty() ? std::string(name) : fmt::format("{}.{}", path, name);
}

const Node* ReadVisitor::look_up(std::string_view name) {
  Frame& frame = frames_.back();
  frame.known.emplace_back(name);
  return frame.node == nullptr ? nullptr : frame.node->find(name);
}

Place ReadVisitor::place_of_key(std::string_view name) const {
  const Frame& frame = frames_.back();
  const Member* member = frame.node == nullptr ? nullptr : frame.node->find_member(name);
  return member == nullptr ? frame.place : member->place;
}

bool ReadVisitor::open_map(std::string_view name, const Node* node, bool required) {
  Frame frame{.node = nullptr, .path = path_to(name), .place = place_of_key(name), .required = required};
  if (node != nullptr) {
    if (node->kind == Node::Kind::kMap) {
      frame.node = node;
    } else if (node->kind != Node::Kind::kNull) {
      diagnostics_.add(node->place, frame.path, fmt::format("{} is not a map of keys", shown(*node)));
      frame.required = false;
    }
  }
  frames_.push_back(std::move(frame));
  return true;
}

bool ReadVisitor::enter_group(std::string_view name, std::string_view) {
  const Node* node = look_up(name);
  return open_map(name, node, frames_.back().required);
}

bool ReadVisitor::enter_optional_group(std::string_view name, std::string_view, bool& present) {
  const Node* node = look_up(name);
  if (node != nullptr) {
    present = node->kind != Node::Kind::kNull;
  }
  open_map(name, node, node != nullptr && present);
  frames_.back().visited = present;
  return present;
}

std::size_t ReadVisitor::enter_list(std::string_view name, std::string_view, std::size_t current) {
  const Node* node = look_up(name);
  Frame frame{.node = nullptr, .path = path_to(name), .place = place_of_key(name), .visited = false};
  std::size_t count = current;
  if (node != nullptr) {
    count = node->items.size();
    if (node->kind == Node::Kind::kSequence) {
      frame.node = node;
    } else if (node->kind != Node::Kind::kNull) {
      diagnostics_.add(node->place, frame.path, fmt::format("{} is not a list of maps, [{{…}}]", shown(*node)));
    }
  }
  frames_.push_back(std::move(frame));
  return count;
}

void ReadVisitor::enter_item(std::size_t index) {
  const Node* list = frames_.back().node;
  const Node* item = list == nullptr ? nullptr : &list->items[index];
  open_map(fmt::format("{}", index), item, item != nullptr);
  frames_.back().place = item == nullptr ? frames_.back().place : item->place;
}

void ReadVisitor::close_frame() {
  const Frame frame = std::move(frames_.back());
  frames_.pop_back();
  if (frame.node == nullptr || !frame.visited) {
    return;
  }
  std::vector<std::string> seen;
  for (const Member& member : frame.node->members) {
    if (std::ranges::find(frame.known, member.key) == frame.known.end()) {
      report_unknown(frame, member);
    } else if (std::ranges::find(seen, member.key) != seen.end()) {
      diagnostics_.add(
          member.place, frame.path.empty() ? member.key : fmt::format("{}.{}", frame.path, member.key),
          fmt::format("stands here a second time; the first is in line {}", frame.node->find(member.key)->place.line));
    }
    seen.push_back(member.key);
  }
}

void ReadVisitor::report_missing(std::string_view name, const Field& field) {
  const Frame& frame = frames_.back();
  if (field.required && frame.required) {
    diagnostics_.add(frame.place, path_to(name), fmt::format("is missing: {}", field.doc));
  }
}

void ReadVisitor::report_value(const Node& node, std::string_view name, const std::string& problem) {
  const std::optional<std::string> advice = foreign_advice(name, node, false);
  const std::string known = problem.substr(0, problem.find("; did you mean"));  // advice knows better than a guess
  diagnostics_.add(node.place, path_to(name), advice ? fmt::format("{}; {}", known, *advice) : problem);
}

void ReadVisitor::report_unknown(const Frame& frame, const Member& member) {
  std::string text = "unknown key";
  const std::string nearest = did_you_mean(member.key, frame.known);
  if (const std::optional<std::string> advice = foreign_advice(member.key, member.value, true)) {
    text += "; " + *advice;
  } else if (const std::string place = elsewhere(member.key); !place.empty()) {
    text += "; it stands in another group: " + place;
  } else if (!nearest.empty()) {
    text += nearest;
  } else {
    text += fmt::format("; known here: {}", fmt::join(frame.known, ", "));
  }
  const std::string key = shown(member.key).substr(1, shown(member.key).size() - 2);
  diagnostics_.add(member.place, frame.path.empty() ? key : fmt::format("{}.{}", frame.path, key), text);
}

std::optional<std::string> ReadVisitor::foreign_advice(std::string_view key, const Node& value, bool any_value) const {
  for (const ForeignName& foreign : names_.foreign) {
    const bool meant = foreign.value.empty() ? any_value : foreign.value == value.text;
    if (foreign.key != key || !meant) {
      continue;
    }
    const std::string written = value.kind == Node::Kind::kScalar ? shown(value.text) : "'…'";
    std::string advice;
    for (const char c : foreign.advice) {
      advice += c == '$' ? written.substr(1, written.size() - 2) : std::string(1, c);
    }
    return advice;
  }
  return std::nullopt;
}

std::string ReadVisitor::elsewhere(std::string_view key) const {
  std::vector<std::string> paths;
  for (const KeyEntry& entry : list_keys(names_.sample)) {
    const std::size_t dot = entry.path.rfind('.');
    if (dot != std::string::npos && std::string_view(entry.path).substr(dot + 1) == key) {
      paths.push_back(entry.path);
    }
  }
  return fmt::format("{}", fmt::join(paths, " or "));
}

}  // namespace dormer::config
