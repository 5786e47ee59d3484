#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "config/diagnostics.hpp"
#include "config/document.hpp"
#include "config/each_field.hpp"
#include "config/parse_value.hpp"
#include "dormer/config/read.hpp"

namespace dormer::config {

/// What the reader knows about names.
struct Names {
  const Describe& sample;  ///< its keys are listed when a name is not known
  std::span<const ForeignName> foreign;
};

/// Fills what it visits from a document and collects every mistake on the way.
class ReadVisitor final : public EachField<ReadVisitor> {
 public:
  ReadVisitor(const Node& root, Names names, Diagnostics& diagnostics);

  template <typename T>
  void visit(std::string_view name, T& value, const Field& field) {
    const Node* node = look_up(name);
    if (node == nullptr) {
      report_missing(name, field);
      return;
    }
    if (const Problem problem = parse_value(*node, value, field)) {
      report_value(*node, name, *problem);
    }
  }
  /// Closes the outermost map. Call once, at the end.
  void finish() { close_frame(); }

 protected:
  bool enter_group(std::string_view name, std::string_view doc) override;
  bool enter_optional_group(std::string_view name, std::string_view doc, bool& present) override;
  std::size_t enter_list(std::string_view name, std::string_view doc, std::size_t current) override;
  void enter_item(std::size_t index) override;
  bool enter_sample_item() override { return false; }
  void leave_group() override { close_frame(); }
  void leave_list() override { close_frame(); }

 private:
  struct Frame {
    const Node* node = nullptr;  ///< null: absent, every member keeps its value
    std::string path;
    Place place;
    bool visited = true;    ///< its keys were asked for, so the others are unknown
    bool required = false;  ///< a missing required key is a mistake
    std::vector<std::string> known = {};
  };

  [[nodiscard]] std::string path_to(std::string_view name) const;
  [[nodiscard]] const Node* look_up(std::string_view name);
  /// Where `name` is written in the open map, or the map itself where it is not.
  [[nodiscard]] Place place_of_key(std::string_view name) const;
  /// Opens a frame for a map; reports a node of another kind.
  bool open_map(std::string_view name, const Node* node, bool required);
  void close_frame();
  void report_missing(std::string_view name, const Field& field);
  void report_value(const Node& node, std::string_view name, const std::string& problem);
  void report_unknown(const Frame& frame, const Member& member);
  [[nodiscard]] std::optional<std::string> foreign_advice(std::string_view key, const Node& value,
                                                          bool any_value) const;
  [[nodiscard]] std::string elsewhere(std::string_view key) const;

  Names names_;
  Diagnostics& diagnostics_;
  std::vector<Frame> frames_;
};

}  // namespace dormer::config
