#include "dormer/config/write.hpp"

#include "config/each_field.hpp"
#include "config/scalar_text.hpp"

namespace dormer::config {
namespace {

constexpr std::size_t kIndent = 2;

class DumpVisitor final : public EachField<DumpVisitor> {
 public:
  [[nodiscard]] std::string take() && { return std::move(text_); }

  template <typename T>
  void visit(std::string_view name, const T& value, const Field&) {
    line(name, scalar_text(value));
  }

 protected:
  bool enter_group(std::string_view name, std::string_view) override {
    line(name, "");
    ++depth_;
    return true;
  }
  bool enter_optional_group(std::string_view name, std::string_view, bool& present) override {
    line(name, present ? "" : "null");
    ++depth_;
    return present;
  }
  std::size_t enter_list(std::string_view name, std::string_view, std::size_t current) override {
    line(name, current == 0 ? "[]" : "");
    ++depth_;
    return current;
  }
  void enter_item(std::size_t) override {
    first_of_item_ = true;
    ++depth_;
  }
  bool enter_sample_item() override { return false; }
  void leave_group() override { --depth_; }
  void leave_list() override { --depth_; }

 private:
  void line(std::string_view name, std::string_view value) {
    std::string indent(depth_ * kIndent, ' ');
    if (first_of_item_) {
      indent.replace(indent.size() - kIndent, kIndent, "- ");
      first_of_item_ = false;
    }
    text_ += fmt::format("{}{}:{}{}\n", indent, name, value.empty() ? "" : " ", value);
  }

  std::string text_;
  std::size_t depth_ = 0;
  bool first_of_item_ = false;
};

class FlattenVisitor final : public EachField<FlattenVisitor> {
 public:
  [[nodiscard]] std::map<std::string, std::string> take() && { return std::move(values_); }

  template <typename T>
  void visit(std::string_view name, const T& value, const Field&) {
    values_[path_to(name)] = scalar_text(value);
  }

 protected:
  bool enter_group(std::string_view name, std::string_view) override {
    path_.push_back(path_to(name));
    return true;
  }
  bool enter_optional_group(std::string_view name, std::string_view, bool& present) override {
    path_.push_back(path_to(name));
    if (!present) {
      values_[path_.back()] = "null";
    }
    return present;
  }
  std::size_t enter_list(std::string_view name, std::string_view, std::size_t current) override {
    path_.push_back(path_to(name));
    return current;
  }
  void enter_item(std::size_t index) override { path_.push_back(path_to(fmt::format("{}", index))); }
  bool enter_sample_item() override { return false; }
  void leave_group() override { path_.pop_back(); }
  void leave_list() override { path_.pop_back(); }

 private:
  [[nodiscard]] std::string path_to(std::string_view name) const {
    return path_.empty() ? std::string(name) : fmt::format("{}.{}", path_.back(), name);
  }

  std::map<std::string, std::string> values_;
  std::vector<std::string> path_;
};

}  // namespace

std::string dump(const std::function<void(Visitor&)>& describe) {
  DumpVisitor visitor;
  describe(visitor);
  return std::move(visitor).take();
}

std::map<std::string, std::string> flatten(const std::function<void(Visitor&)>& describe) {
  FlattenVisitor visitor;
  describe(visitor);
  return std::move(visitor).take();
}

}  // namespace dormer::config
