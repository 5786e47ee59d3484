#include <algorithm>
#include <charconv>
#include <cmath>
#include <string>
#include <string_view>
#include <vector>

#include "dormer/config/values.hpp"
#include "dormer/core/error.hpp"
#include "dormer/core/nearest_name.hpp"

namespace dormer::config {
namespace {

constexpr int kMaxDepth = 64;  // parentheses and signs nest by recursion

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool is_name_start(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

/// Recursive descent over sum, product, signed and atom.
class ExpressionParser {
 public:
  /// With `found`, names need no value and are listed there.
  ExpressionParser(std::string_view text, const std::map<std::string, double>& names,
                   std::vector<std::string>* found = nullptr)
      : text_(text), names_(names), found_(found) {}

  double parse() {
    const double value = sum();
    if (position_ < text_.size()) {
      reject(fmt::format("'{}' is not expected", text_.substr(position_)));
    }
    require(found_ != nullptr || std::isfinite(value), Fault::kUsage, "expression '{}' has no finite value", text_);
    return value;
  }

 private:
  double sum() {
    double value = product();
    while (true) {
      if (take('+')) {
        value += product();
      } else if (take('-')) {
        value -= product();
      } else {
        return value;
      }
    }
  }

  double product() {
    double value = signed_atom();
    while (true) {
      if (take('*')) {
        value *= signed_atom();
      } else if (take('/')) {
        value /= signed_atom();
      } else {
        return value;
      }
    }
  }

  double signed_atom() {
    if (++depth_ > kMaxDepth) {
      reject("it nests too deeply");
    }
    double value = 0.0;
    if (take('-')) {
      value = -signed_atom();
    } else if (take('+')) {
      value = signed_atom();
    } else {
      value = atom();
    }
    --depth_;
    return value;
  }

  double atom() {
    if (take('(')) {
      const double value = sum();
      if (!take(')')) {
        reject("a ')' is missing");
      }
      return value;
    }
    if (position_ < text_.size() && (is_digit(text_[position_]) || text_[position_] == '.')) {
      return number();
    }
    if (position_ < text_.size() && is_name_start(text_[position_])) {
      return name_or_root();
    }
    reject(position_ < text_.size() ? fmt::format("'{}' is not expected", text_.substr(position_))
                                    : "it ends too early");
  }

  double number() {
    double value = 0.0;
    const auto [end, error] = std::from_chars(text_.data() + position_, text_.data() + text_.size(), value);
    if (error != std::errc{}) {
      reject(fmt::format("'{}' is not a number", text_.substr(position_)));
    }
    position_ = static_cast<std::size_t>(end - text_.data());
    skip_space();
    return value;
  }

  double name_or_root() {
    const std::size_t begin = position_;
    while (position_ < text_.size() &&
           (is_name_start(text_[position_]) || is_digit(text_[position_]) || text_[position_] == '.')) {
      ++position_;
    }
    const std::string name(text_.substr(begin, position_ - begin));
    skip_space();
    if (name == "sqrt" && position_ < text_.size() && text_[position_] == '(') {
      return std::sqrt(signed_atom());
    }
    if (found_ != nullptr) {
      if (std::ranges::find(*found_, name) == found_->end()) {
        found_->push_back(name);
      }
      return 1.0;
    }
    if (const auto found = names_.find(name); found != names_.end()) {
      return found->second;
    }
    std::vector<std::string> known{"sqrt(…)"};
    for (const auto& entry : names_) {
      known.push_back(entry.first);
    }
    reject(fmt::format("unknown name '{}'{}; known: {}", name, did_you_mean(name, known), fmt::join(known, ", ")));
  }

  bool take(char c) {
    skip_space();
    if (position_ >= text_.size() || text_[position_] != c) {
      return false;
    }
    ++position_;
    skip_space();
    return true;
  }

  void skip_space() {
    while (position_ < text_.size() && text_[position_] == ' ') {
      ++position_;
    }
  }

  [[noreturn]] void reject(const std::string& reason) const {
    fail(Fault::kUsage, "expression '{}' cannot be read: {}", text_, reason);
  }

  std::string_view text_;
  const std::map<std::string, double>& names_;
  std::vector<std::string>* found_;
  std::size_t position_ = 0;
  int depth_ = 0;
};

}  // namespace

double Expression::evaluate(const std::map<std::string, double>& names) const {
  return ExpressionParser(text, names).parse();
}

std::optional<std::vector<std::string>> Expression::names() const {
  std::vector<std::string> found;
  try {
    ExpressionParser(text, {}, &found).parse();
  } catch (const Error&) {
    return std::nullopt;  // a text that is something else
  }
  return found;
}

}  // namespace dormer::config
