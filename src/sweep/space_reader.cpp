#include "sweep/space_reader.hpp"

#include <fmt/format.h>

#include "dormer/core/error.hpp"

namespace dormer::sweep {
namespace {

using config::Member;
using config::Node;

constexpr const char* kZip = "zip";
constexpr std::size_t kMostValues = 2000;  // each is tried before anything runs

}  // namespace

std::vector<WrittenEntry> read_space(const Node& node, const std::string& prefix, Mistakes& mistakes) {
  std::vector<WrittenEntry> entries;
  if (node.kind != Node::Kind::kMap) {
    mistakes.add(node.place, prefix,
                 fmt::format("{} is not a map of paths and what to try there, such as "
                             "adapter.rank: [8, 16]",
                             shown(node)));
    return entries;
  }
  const auto add = [&](std::optional<WrittenEntry> entry) {
    if (entry) {
      entries.push_back(std::move(*entry));
    }
  };
  for (const Member& member : node.members) {
    if (member.key != kZip) {
      add(read_entry(member, prefix, mistakes));
      continue;
    }
    const std::string path = fmt::format("{}.{}", prefix, kZip);
    if (member.value.kind != Node::Kind::kSequence || member.value.items.empty()) {
      mistakes.add(member.place, path, "zip is a list of groups: [{path: [a, b], other.path: [c, d]}]");
      continue;
    }
    for (std::size_t index = 0; index < member.value.items.size(); ++index) {
      add(read_zip_group(member.value.items[index], fmt::format("{}.{}", path, index), mistakes));
    }
  }
  std::size_t values = 0;
  for (const WrittenEntry& written : entries) {
    values += written.values.size();
  }
  if (values > kMostValues) {
    mistakes.add(node.place, prefix,
                 fmt::format("{} values; at most {} can be told one by one, write ranges", values, kMostValues));
    return {};
  }
  if (!mistakes.any()) {
    settle_references(entries, mistakes);
    return entries;
  }
  for (WrittenEntry& written : entries) {  // what one says of another may be said of one that is left out
    auto* follower = std::get_if<Follower>(&written.entry);
    if (follower != nullptr && !follower->expression.names().value_or(std::vector<std::string>{}).empty()) {
      follower->text.clear();  // perhaps an expression
    }
  }
  return entries;
}

Space space_of(const std::vector<WrittenEntry>& entries) {
  std::vector<Space::Entry> result;
  for (const WrittenEntry& entry : entries) {
    result.push_back(entry.entry);
  }
  return Space(std::move(result));
}

Space parse_space(std::string_view yaml) {
  const config::Document document = config::Document::parse({.name = "space", .text = std::string(yaml)});
  Mistakes mistakes;
  const std::vector<WrittenEntry> entries = read_space(document.root, "sweep.space", mistakes);
  config::refuse(document, mistakes.all());
  return space_of(entries);
}

}  // namespace dormer::sweep
