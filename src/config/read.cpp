#include "dormer/config/read.hpp"

#include <algorithm>
#include <fstream>
#include <iterator>

#include "config/diagnostics.hpp"
#include "config/document.hpp"
#include "config/read_visitor.hpp"
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

Document Document::parse(const Source& source) {
  Document document{.name = source.name,
                    .overrides = {source.overrides.begin(), source.overrides.end()},
                    .root = parse_document(source.text, source.name)};
  const Node& root = document.root;
  require(root.kind == Node::Kind::kMap, Fault::kUsage, "{}:{}: the file holds {}; write groups of 'key: value' lines",
          source.name, root.place.line, root.kind == Node::Kind::kSequence ? "a list" : "a single value");
  for (std::size_t i = 0; i < document.overrides.size(); ++i) {
    apply_override(document.root, document.overrides[i], static_cast<int>(i));
  }
  return document;
}

void Document::set(const std::string& line, std::string_view undivided) {
  apply_override(root, line, static_cast<int>(overrides.size()), undivided);
  overrides.push_back(line);
}

std::optional<Member> Document::take(std::string_view key) {
  const auto found = std::ranges::find(root.members, key, &Member::key);
  if (found == root.members.end()) {
    return std::nullopt;
  }
  std::optional<Member> taken = std::move(*found);
  root.members.erase(found);
  return taken;
}

std::vector<Mistake> find_mistakes(const Document& document, const Reading& reading) {
  Diagnostics diagnostics;
  ReadVisitor visitor(document.root, {reading.sample, reading.foreign_names}, diagnostics);
  reading.target(visitor);
  visitor.finish();
  for (const std::string& message : reading.rules()) {
    const std::string path = message.substr(0, message.find(':'));
    if (!diagnostics.concerns_group_of(path)) {
      diagnostics.add(place_of(document.root, path), path, message.substr(std::min(path.size() + 2, message.size())));
    }
  }
  return std::move(diagnostics).take();
}

void read(const Source& source, const Describe& target, const Describe& sample, const Rules& rules) {
  const Document document = Document::parse(source);
  refuse(document,
         find_mistakes(document,
                       {.target = target, .sample = sample, .rules = rules, .foreign_names = source.foreign_names}));
}

}  // namespace dormer::config
