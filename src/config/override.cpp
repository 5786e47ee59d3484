#include <charconv>
#include <vector>

#include "config/document.hpp"
#include "dormer/core/error.hpp"

namespace dormer::config {
namespace {

std::vector<std::string> split_path(std::string_view path, std::string_view undivided) {
  std::vector<std::string> parts;
  if (!undivided.empty() && path.size() > undivided.size() + 1 && path.starts_with(undivided) &&
      path[undivided.size()] == '.') {
    parts = split_path(undivided, {});
    parts.emplace_back(path.substr(undivided.size() + 1));
    return parts;
  }
  std::size_t begin = 0;
  for (std::size_t dot = path.find('.'); dot != std::string_view::npos; dot = path.find('.', begin)) {
    parts.emplace_back(path.substr(begin, dot - begin));
    begin = dot + 1;
  }
  parts.emplace_back(path.substr(begin));
  return parts;
}

std::size_t item_index(const Node& list, const std::string& part, const std::string& line) {
  std::size_t index = 0;
  const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), index);
  require(error == std::errc{} && end == part.data() + part.size() && index < list.items.size(), Fault::kUsage,
          "--set {}: '{}' picks no item of a list of {}; items count from 0", line, part, list.items.size());
  return index;
}

/// The node under `parent` that `part` names; a missing one is made.
Node& step_into(Node& parent, const std::string& part, const std::string& line, Place place) {
  if (parent.kind == Node::Kind::kSequence) {
    return parent.items[item_index(parent, part, line)];
  }
  if (parent.kind == Node::Kind::kNull) {
    parent.kind = Node::Kind::kMap;
    parent.text.clear();
    parent.place = place;
  }
  require(parent.kind == Node::Kind::kMap, Fault::kUsage, "--set {}: '{}' stands under '{}', which is not a map", line,
          part, parent.text);
  if (Node* existing = parent.find(part)) {
    return *existing;
  }
  Node made;
  made.place = place;
  parent.members.push_back({part, place, made});
  return parent.members.back().value;
}

void erase(Node& parent, const std::string& part, const std::string& line) {
  if (parent.kind == Node::Kind::kSequence) {
    parent.items.erase(parent.items.begin() + static_cast<std::ptrdiff_t>(item_index(parent, part, line)));
  } else {
    std::erase_if(parent.members, [&](const Member& member) { return member.key == part; });
  }
}

/// The node that holds `parts`' last key, or null where nothing of that name exists.
Node* find_parent(Node& root, const std::vector<std::string>& parts, const std::string& line) {
  Node* node = &root;
  for (std::size_t i = 0; i + 1 < parts.size() && node != nullptr; ++i) {
    node = node->kind == Node::Kind::kSequence ? &node->items[item_index(*node, parts[i], line)] : node->find(parts[i]);
  }
  return node;
}

}  // namespace

void apply_override(Node& root, const std::string& line, int index, std::string_view undivided) {
  const std::size_t equals = line.find('=');
  require(equals != std::string::npos && equals > 0, Fault::kUsage, "--set {}: write it as group.key=value", line);
  const std::vector<std::string> parts = split_path(std::string_view(line).substr(0, equals), undivided);
  for (const std::string& part : parts) {
    require(!part.empty(), Fault::kUsage, "--set {}: a name between the dots is missing", line);
  }
  const std::string text = line.substr(equals + 1);
  const Place place{.line = 1, .override_index = index};
  Node value;
  if (text.find_first_not_of(' ') != std::string::npos) {
    value = parse_document(text, "--set " + line, place);
  }
  if (value.kind == Node::Kind::kNull) {
    if (Node* parent = find_parent(root, parts, line)) {
      erase(*parent, parts.back(), line);
    }
    return;
  }
  Node* node = &root;
  for (const std::string& part : parts) {
    node = &step_into(*node, part, line, place);
  }
  *node = std::move(value);
}

}  // namespace dormer::config
