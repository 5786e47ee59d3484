#include "dormer/config/read.hpp"

#include <fstream>
#include <iterator>

#include "config/diagnostics.hpp"
#include "config/document.hpp"
#include "config/read_visitor.hpp"
#include "dormer/config/write.hpp"
#include "dormer/core/error.hpp"

namespace dormer::config {
namespace {

constexpr std::uintmax_t kMaxBytes = 1 << 20;

/// The place of the deepest node on the way to `path` that exists.
Place place_of(const Node& root, std::string_view path) {
  const Node* node = &root;
  Place place = root.place;
  for (std::size_t begin = 0; node != nullptr && begin < path.size();) {
    const std::size_t dot = std::min(path.find('.', begin), path.size());
    const Member* member = node->find_member(path.substr(begin, dot - begin));
    place = member != nullptr ? member->place : place;
    node = member != nullptr ? &member->value : nullptr;
    begin = dot + 1;
  }
  return place;
}

}  // namespace

Source Source::from_file(const std::filesystem::path& file) {
  std::error_code error;
  const auto status = std::filesystem::status(file, error);
  require(std::filesystem::exists(status), Fault::kUsage, "{}: no such file", file.string());
  require(std::filesystem::is_regular_file(status), Fault::kUsage, "{}: not a file; name a YAML file", file.string());
  const std::uintmax_t bytes = std::filesystem::file_size(file, error);
  require(!error && bytes <= kMaxBytes, Fault::kUsage, "{}:1: {} bytes; a configuration has at most {}", file.string(),
          bytes, kMaxBytes);
  std::ifstream stream(file, std::ios::binary);
  std::string text{std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
  require(stream.good() || stream.eof(), Fault::kUsage, "{}: cannot be read", file.string());
  return {.name = file.string(), .text = std::move(text)};
}

void read(const Source& source, const Describe& target, const Describe& sample, const Rules& rules) {
  Node root = parse_document(source.text, source.name);
  require(root.kind == Node::Kind::kMap, Fault::kUsage, "{}:{}: the file holds {}; write groups of 'key: value' lines",
          source.name, root.place.line, root.kind == Node::Kind::kSequence ? "a list" : "a single value");
  for (std::size_t i = 0; i < source.overrides.size(); ++i) {
    apply_override(root, source.overrides[i], static_cast<int>(i));
  }
  Diagnostics diagnostics(source.name, {source.overrides.begin(), source.overrides.end()});
  const std::vector<KeyEntry> known = list_keys(sample);
  ReadVisitor visitor(root, {known, source.foreign_names}, diagnostics);
  target(visitor);
  visitor.finish();
  for (const std::string& message : rules()) {
    const std::string path = message.substr(0, message.find(':'));
    if (!diagnostics.concerns_group_of(path)) {
      diagnostics.add(place_of(root, path), path, message.substr(std::min(path.size() + 2, message.size())));
    }
  }
  diagnostics.throw_if_any();
}

}  // namespace dormer::config
