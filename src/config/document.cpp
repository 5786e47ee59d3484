#include "config/document.hpp"

#include <algorithm>
#include <map>
#include <optional>
#include <sstream>
#include <utility>

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include "config/utf8.hpp"
#include "dormer/core/error.hpp"

namespace dormer::config {
namespace {

constexpr std::size_t kMaxBytes = 1 << 20;
constexpr std::size_t kMaxDepth = 64;
constexpr std::size_t kMaxNodes = 20'000;
constexpr std::size_t kMaxAliases = 64;

std::size_t count_nodes(const Node& node) {
  std::size_t total = 1;
  for (const Member& member : node.members) {
    total += count_nodes(member.value);
  }
  for (const Node& item : node.items) {
    total += count_nodes(item);
  }
  return total;
}

/// Builds a `Node` from the parser's events. We build our own tree because yaml-cpp's drops the lines of keys and the
/// difference between a text and a number, and lets aliases grow without bound.
class TreeBuilder final : public YAML::EventHandler {
 public:
  TreeBuilder(const std::string& source, Place place) : source_(source), place_(place) {}

  [[nodiscard]] std::optional<Node> take() { return std::exchange(root_, std::nullopt); }

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    add(node(mark, Node::Kind::kNull), anchor, mark);
  }

  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    const auto found = anchors_.find(anchor);
    if (found == anchors_.end()) {
      reject(mark, "this alias (*) stands inside of what it refers to");
    }
    if (++aliases_ > kMaxAliases) {
      reject(mark, "more than 64 aliases (*); write the values out");
    }
    count(mark, count_nodes(found->second));
    add(found->second, YAML::NullAnchor, mark);
  }

  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    check_tag(mark, tag);
    const bool quoted = tag == "!";
    Node scalar = node(mark, !quoted && value == "null" ? Node::Kind::kNull : Node::Kind::kScalar);
    scalar.text = value;
    scalar.quoted = quoted;
    add(std::move(scalar), anchor, mark);
  }

  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    open(mark, tag, anchor, Node::Kind::kSequence);
  }
  void OnSequenceEnd() override { close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    open(mark, tag, anchor, Node::Kind::kMap);
  }
  void OnMapEnd() override { close(); }

 private:
  struct Open {
    Node node;
    YAML::anchor_t anchor;
    YAML::Mark mark;
    std::optional<Member> pending;  ///< a key that waits for its value
  };

  [[noreturn]] void reject(const YAML::Mark& mark, std::string_view reason) const {
    fail(Fault::kUsage, "{}:{}: {}", source_, mark.line + 1, reason);
  }

  [[nodiscard]] Node node(const YAML::Mark& mark, Node::Kind kind) const {
    Node result;
    result.kind = kind;
    result.place = {.line = mark.line + 1, .override_index = place_.override_index};
    return result;
  }

  void check_tag(const YAML::Mark& mark, const std::string& tag) const {
    if (!tag.empty() && tag != "?" && tag != "!") {
      reject(mark, fmt::format("tag '{}': tags have no meaning here, leave them out", tag));
    }
  }

  void count(const YAML::Mark& mark, std::size_t nodes) {
    nodes_ += nodes;
    if (nodes_ > kMaxNodes) {
      reject(mark, "more than 20000 values (aliases written out); a configuration is smaller");
    }
  }

  void open(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor, Node::Kind kind) {
    check_tag(mark, tag);
    if (open_.size() >= kMaxDepth) {
      reject(mark, "nested more than 64 levels deep; a configuration is flatter");
    }
    open_.push_back({node(mark, kind), anchor, mark, std::nullopt});
  }

  void close() {
    Open closed = std::move(open_.back());
    open_.pop_back();
    add(std::move(closed.node), closed.anchor, closed.mark);
  }

  void add(Node node, YAML::anchor_t anchor, const YAML::Mark& mark) {
    count(mark, 1);
    if (anchor != YAML::NullAnchor) {
      count(mark, count_nodes(node));
      anchors_[anchor] = node;
    }
    if (open_.empty()) {
      root_ = std::move(node);
      return;
    }
    Open& parent = open_.back();
    if (parent.node.kind == Node::Kind::kSequence) {
      parent.node.items.push_back(std::move(node));
    } else if (!parent.pending) {
      if (node.kind != Node::Kind::kScalar) {
        reject(mark, "a key must be a single word");
      }
      parent.pending = Member{std::move(node.text), node.place, {}};
    } else {
      parent.pending->value = std::move(node);
      parent.node.members.push_back(std::move(*parent.pending));
      parent.pending.reset();
    }
  }

  const std::string& source_;
  Place place_;
  std::optional<Node> root_;
  std::vector<Open> open_;
  std::map<YAML::anchor_t, Node> anchors_;
  std::size_t nodes_ = 0;
  std::size_t aliases_ = 0;
};

/// Refuses what would confuse a YAML parser, or a reader of its messages.
void check_text(std::string_view text, const std::string& source) {
  require(text.size() <= kMaxBytes, Fault::kUsage, "{}:1: {} bytes; a configuration has at most {}", source,
          text.size(), kMaxBytes);
  int line = 1;
  bool indentation = true;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    require(c != '\0', Fault::kUsage, "{}:{}: a zero byte; this is not a text file in UTF-8", source, line);
    require(!(indentation && c == '\t'), Fault::kUsage, "{}:{}: a tab in the indentation; YAML takes spaces only",
            source, line);
    indentation = c == '\n' || (indentation && c == ' ');
    line += c == '\n' ? 1 : 0;
  }
  const std::optional<std::size_t> wrong = first_invalid_utf8(text);
  if (wrong) {
    fail(Fault::kUsage, "{}:{}: byte {} is not UTF-8; save the file as UTF-8", source,
         1 + std::ranges::count(text.substr(0, *wrong), '\n'), *wrong);
  }
}

}  // namespace

const Member* Node::find_member(std::string_view key) const {
  const auto found = std::ranges::find(members, key, &Member::key);
  return found == members.end() ? nullptr : &*found;
}

const Node* Node::find(std::string_view key) const {
  const Member* member = find_member(key);
  return member == nullptr ? nullptr : &member->value;
}

Node* Node::find(std::string_view key) {
  return const_cast<Node*>(std::as_const(*this).find(key));
}

Node parse_document(std::string_view text, const std::string& source, Place place) {
  check_text(text, source);
  TreeBuilder builder(source, place);
  try {
    // yaml-cpp 0.7 takes the end of the file for the end of an open quote, unless something stands in the last line.
    std::istringstream stream{std::string(text) + "\n#"};
    YAML::Parser parser(stream);
    const bool any = parser.HandleNextDocument(builder);
    std::optional<Node> root = builder.take();
    require(any && root.has_value(), Fault::kUsage, "{}:1: the file is empty", source);
    require(!parser.HandleNextDocument(builder), Fault::kUsage,
            "{}:1: more than one YAML document ('---'); write one file for each", source);
    return std::move(*root);
  } catch (const YAML::Exception& error) {
    fail(Fault::kUsage, "{}:{}: not valid YAML: {}", source, error.mark.line + 1, error.msg);
  }
}

}  // namespace dormer::config
