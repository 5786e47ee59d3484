#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace dormer::config {

/// How often something happens: "20" (updates), "1 epoch", "15 min" ("90 s", "2 h"), or null / 0 for never.
struct Cadence {
  enum class Unit { kNever, kSteps, kEpochs, kSeconds };
  Unit unit = Unit::kNever;
  double amount = 0.0;

  [[nodiscard]] static Cadence never() { return {}; }
  [[nodiscard]] static Cadence steps(std::int64_t count) { return {Unit::kSteps, static_cast<double>(count)}; }
  [[nodiscard]] static Cadence seconds(double count) { return {Unit::kSeconds, count}; }
  [[nodiscard]] static std::optional<Cadence> parse(std::string_view text);
  [[nodiscard]] std::string text() const;
  bool operator==(const Cadence&) const = default;
};

/// A number of updates ("5") or a share of the run ("3%"): warm-up.
struct StepsOrShare {
  double amount = 0.0;  ///< updates, or a share between 0 and 1
  bool share = false;

  [[nodiscard]] std::int64_t steps_of(std::int64_t total) const;
  [[nodiscard]] static std::optional<StepsOrShare> parse(std::string_view text);
  [[nodiscard]] std::string text() const;
  bool operator==(const StepsOrShare&) const = default;
};

/// A number or an arithmetic expression over names (+ - * / parentheses, sqrt): alpha: 2*rank. Empty text: absent.
struct Expression {
  std::string text;

  [[nodiscard]] bool absent() const { return text.empty(); }
  /// Throws a usage error that shows the text for syntax errors and unknown names.
  [[nodiscard]] double evaluate(const std::map<std::string, double>& names) const;
  /// The names that it is over, each once; nothing where the text is no expression.
  [[nodiscard]] std::optional<std::vector<std::string>> names() const;
  bool operator==(const Expression&) const = default;
};

/// A span of time ("90 s", "15 min", "2 h"; a bare number is seconds), "auto", or null.
struct Duration {
  std::optional<double> seconds;
  bool automatic = false;

  [[nodiscard]] static std::optional<Duration> parse(std::string_view text);
  [[nodiscard]] std::string text() const;
  bool operator==(const Duration&) const = default;
};

}  // namespace dormer::config
