#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "dormer/config/values.hpp"
#include "dormer/sweep/point.hpp"

namespace dormer::sweep {

/// Holds where the point sets `path` to one of these values.
struct Condition {
  std::string path;
  std::vector<std::string> values;
  [[nodiscard]] bool holds(const Point& point) const;
};

/// "; where adapter.kind is lora or locon", or nothing.
[[nodiscard]] std::string text_of(const std::vector<Condition>& conditions);

/// One entry of a list: what it sets. Of a zip group, one setting for each of its paths.
struct Option {
  std::vector<Setting> settings;
  std::string label;  ///< for people: "16", "output | 0.001"
};

/// A dimension of the space. Its coordinate is a number: the value itself, or the index of an option.
struct Parameter {
  enum class Kind : std::uint8_t {
    kOptions,  ///< one of a list, without an order
    kReal,     ///< a number between `low` and `high`
    kWhole     ///< a whole number between them, both included
  };
  std::string name;  ///< its path; of a zip group its paths with '+' between them
  Kind kind = Kind::kOptions;
  bool logarithmic = false;
  double low = 0.0;
  double high = 0.0;
  double step = 0.0;                                 ///< between neighbours, from `low` on; 0: any number
  std::optional<std::int64_t> steps = std::nullopt;  ///< values that a grid takes
  std::vector<Option> options = {};
  std::vector<Condition> when = {};  ///< all must hold, or the point does not have it

  /// What it sets: one path, or those of its zip group.
  [[nodiscard]] std::vector<std::string> paths() const;
  /// The coordinate below which the share `unit` (in [0, 1)) of the dimension lies: uniform numbers become uniform
  /// coordinates, uniform in the logarithm where it is logarithmic.
  [[nodiscard]] double quantile(double unit) const;
  /// The coordinate nearest to a number.
  [[nodiscard]] double nearest(double value) const;
  /// The coordinates that a grid takes, ascending; empty: there are too many without `steps`.
  [[nodiscard]] std::vector<double> grid() const;
  /// What a point sets at this coordinate.
  [[nodiscard]] std::vector<Setting> settings(double coordinate) const;
  /// The coordinate as people read it: the number, or the option's label.
  [[nodiscard]] std::string label(double coordinate) const;
  /// "optimizer.learning_rate: 1e-05 to 0.001, logarithmic".
  [[nodiscard]] std::string description() const;
};

/// A setting that no sampler chooses: a constant, or an expression over other paths of the space.
struct Follower {
  std::string path;
  std::string text;  ///< of a constant
  config::Expression expression;
  std::vector<std::string> names;  ///< the paths that the expression is over; a point without one of them has it not
  std::vector<Condition> when;
};

/// What may be tried. Immutable.
class Space {
 public:
  /// In the order of the file, which is also that of a point's settings.
  using Entry = std::variant<Parameter, Follower>;

  Space() = default;
  /// Conditions and expressions must refer to paths of `entries` and have no cycles.
  explicit Space(std::vector<Entry> entries);

  [[nodiscard]] const std::vector<Entry>& entries() const { return entries_; }
  /// The dimensions, in the order of the file.
  [[nodiscard]] const std::vector<Parameter>& parameters() const { return parameters_; }
  /// The point at these coordinates, one for each parameter; those whose condition does not hold are not looked at.
  [[nodiscard]] Point at(std::span<const double> coordinates) const;
  /// The point that somebody gives by the values of its parameters, whether or not the space allows them, with what
  /// follows from them. Usage errors name every path that is missing, and those that the space, or this point, has not.
  [[nodiscard]] Point completed(const Point& given) const;
  /// The coordinate of a parameter in a point; nothing where the point does not have it, or has another value than the
  /// space allows.
  [[nodiscard]] std::optional<double> coordinate(std::size_t parameter, const Point& point) const;
  /// Whether the point is one that `at` could give.
  [[nodiscard]] bool holds(const Point& point) const;
  /// How many points the grid has; nothing where a parameter has no grid. At most 2^62.
  [[nodiscard]] std::optional<std::int64_t> grid_points() const;
  /// The grid's point of this number: the first parameter changes slowest, and points whose conditions make them equal
  /// count once.
  [[nodiscard]] Point grid_point(std::int64_t number) const;
  /// One line for each entry.
  [[nodiscard]] std::vector<std::string> description() const;

 private:
  /// The grid of a parameter. Values of one class are the same to every condition, so as many points follow on each.
  struct Axis {
    std::vector<double> values;
    std::vector<std::size_t> class_of;  ///< of a value
    std::vector<double> example;        ///< of a class
    std::vector<std::int64_t> members;  ///< of a class
  };
  [[nodiscard]] const Parameter* parameter_of(std::size_t entry) const {
    return std::get_if<Parameter>(&entries_[entry]);
  }
  [[nodiscard]] Axis axis_of(const Parameter& parameter) const;
  /// The settings of all entries whose conditions hold, in the order of the file; `append` adds those of one entry.
  [[nodiscard]] Point composed(const std::function<void(std::size_t entry, Point& known)>& append) const;
  /// Adds what the entry sets beside the settings of those before it in `order_`.
  void append_settings(std::size_t entry, double coordinate, Point& known) const;
  /// How many points the grid has that agree with `known` on the entries before this position of `order_`.
  [[nodiscard]] std::int64_t points_from(std::size_t position, Point& known) const;
  [[nodiscard]] std::int64_t points_with(std::size_t position, double coordinate, Point& known) const;
  [[nodiscard]] bool present(std::size_t entry, const Point& known) const;

  std::vector<Entry> entries_;
  std::vector<Parameter> parameters_;
  std::vector<std::size_t> parameter_index_;  ///< of an entry among the parameters
  std::vector<std::size_t> order_;            ///< of the entries: each after those that it looks at
  std::vector<Axis> axes_;                    ///< of the parameters
};

/// The space that a YAML text describes, written as under `sweep.space`. Throws one usage error with every mistake.
[[nodiscard]] Space parse_space(std::string_view yaml);

}  // namespace dormer::sweep
