#include <type_traits>

#include <fmt/ranges.h>

#include "config/each_field.hpp"
#include "config/range_text.hpp"
#include "config/scalar_text.hpp"
#include "dormer/config/write.hpp"

namespace dormer::config {
namespace {

template <typename T>
constexpr std::string_view kTypeName = "";
template <>
constexpr std::string_view kTypeName<bool> = "true or false";
template <>
constexpr std::string_view kTypeName<std::int64_t> = "whole number";
template <>
constexpr std::string_view kTypeName<double> = "number";
template <>
constexpr std::string_view kTypeName<std::string> = "text";
template <>
constexpr std::string_view kTypeName<std::filesystem::path> = "path";
template <>
constexpr std::string_view kTypeName<std::optional<std::int64_t>> = "whole number or null";
template <>
constexpr std::string_view kTypeName<std::optional<double>> = "number or null";
template <>
constexpr std::string_view kTypeName<std::optional<std::string>> = "text or null";
template <>
constexpr std::string_view kTypeName<std::vector<std::string>> = "text or list of texts";
template <>
constexpr std::string_view kTypeName<std::vector<double>> = "list of numbers";
template <>
constexpr std::string_view kTypeName<Cadence> = "updates, epochs or time";
template <>
constexpr std::string_view kTypeName<StepsOrShare> = "updates or %";
template <>
constexpr std::string_view kTypeName<Expression> = "number or expression";
template <>
constexpr std::string_view kTypeName<Duration> = "time, auto or null";

class ListKeysVisitor final : public EachField<ListKeysVisitor> {
 public:
  [[nodiscard]] std::vector<KeyEntry> take() && { return std::move(entries_); }

  template <typename T>
  void visit(std::string_view name, const T& value, const Field& field) {
    entries_.push_back({.path = path_to(name),
                        .type = std::string(kTypeName<T>),
                        .default_value = field.required ? "" : scalar_text(value),
                        .allowed = allowed_text(field),
                        .meaning = std::string(field.doc)});
  }

 protected:
  bool enter_group(std::string_view name, std::string_view doc) override { return enter(name, "map", "{}", doc); }
  bool enter_optional_group(std::string_view name, std::string_view doc, bool& present) override {
    return enter(name, "map or null", present ? "{}" : "null", doc);
  }
  std::size_t enter_list(std::string_view name, std::string_view doc, std::size_t) override {
    enter(name, "list of maps", "[]", doc);
    return 0;
  }
  void enter_item(std::size_t) override { path_.push_back(path_.back() + "[]"); }
  bool enter_sample_item() override {
    enter_item(0);
    return true;
  }
  void leave_group() override { path_.pop_back(); }
  void leave_list() override { path_.pop_back(); }

 private:
  bool enter(std::string_view name, std::string_view type, std::string_view fallback, std::string_view doc) {
    path_.push_back(path_to(name));
    entries_.push_back({path_.back(), std::string(type), std::string(fallback), "", std::string(doc)});
    return true;
  }
  [[nodiscard]] std::string path_to(std::string_view name) const {
    return path_.empty() ? std::string(name) : fmt::format("{}.{}", path_.back(), name);
  }

  std::vector<KeyEntry> entries_;
  std::vector<std::string> path_;
};

/// A vertical bar would end the cell.
std::string cell(std::string_view text) {
  std::string result;
  for (const char c : text) {
    result += c == '|' ? "\\|" : std::string(1, c);
  }
  return result;
}

std::string code(std::string_view text) {
  return text.empty() ? "" : fmt::format("`{}`", cell(text));
}

}  // namespace

std::vector<KeyEntry> list_keys(const std::function<void(Visitor&)>& describe) {
  ListKeysVisitor visitor;
  describe(visitor);
  return std::move(visitor).take();
}

std::string reference_markdown(const std::vector<KeyEntry>& entries) {
  std::string text;
  for (const KeyEntry& entry : entries) {
    const bool group = entry.path.find_first_of(".[") == std::string::npos;
    if (group) {
      text += fmt::format(
          "\n## {}\n\n{}\n\n| Key | Type | Default | Allowed | Meaning |\n| --- | --- | --- | --- | --- |\n",
          entry.path, entry.meaning);
    } else {
      text += fmt::format("| `{}` | {} | {} | {} | {} |\n", entry.path, entry.type,
                          entry.default_value.empty() ? "required" : code(entry.default_value), cell(entry.allowed),
                          cell(entry.meaning));
    }
  }
  return text;
}

}  // namespace dormer::config
