#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "dormer/config/values.hpp"

namespace dormer::config {

/// What a field means and may be. Bounds are inclusive; with `exclusive_min` the lower one is not.
struct Field {
  std::string_view doc = {};
  std::optional<double> min = std::nullopt;
  std::optional<double> max = std::nullopt;
  bool exclusive_min = false;
  bool required = false;
  std::vector<std::string> choices = {};  ///< the allowed words; empty: any
};

/// Visits every field of a configuration struct by name: reading, writing, comparing and documenting are visitors over
/// the same `void describe(config::Visitor&)`. A field that the file does not name keeps its member initializer.
class Visitor {
 public:
  virtual ~Visitor() = default;
  virtual void field(std::string_view name, bool& value, const Field& field) = 0;
  virtual void field(std::string_view name, std::int64_t& value, const Field& field) = 0;
  virtual void field(std::string_view name, double& value, const Field& field) = 0;
  virtual void field(std::string_view name, std::string& value, const Field& field) = 0;
  virtual void field(std::string_view name, std::filesystem::path& value, const Field& field) = 0;
  /// `null` in the file is nullopt.
  virtual void field(std::string_view name, std::optional<std::int64_t>& value, const Field& field) = 0;
  virtual void field(std::string_view name, std::optional<double>& value, const Field& field) = 0;
  virtual void field(std::string_view name, std::optional<std::string>& value, const Field& field) = 0;
  virtual void field(std::string_view name, std::vector<std::string>& value,
                     const Field& field) = 0;  ///< one word is a list of one
  virtual void field(std::string_view name, std::vector<double>& value, const Field& field) = 0;
  virtual void field(std::string_view name, Cadence& value, const Field& field) = 0;
  virtual void field(std::string_view name, StepsOrShare& value, const Field& field) = 0;
  virtual void field(std::string_view name, Expression& value, const Field& field) = 0;
  virtual void field(std::string_view name, Duration& value, const Field& field) = 0;

  /// A nested map. `T` has `describe`.
  template <typename T>
  void group(std::string_view name, T& value, std::string_view doc) {
    if (enter_group(name, doc)) {
      value.describe(*this);
    }
    leave_group();
  }
  /// A nested map that may be absent or null.
  template <typename T>
  void optional_group(std::string_view name, std::optional<T>& value, std::string_view doc) {
    bool present = value.has_value();
    if (enter_optional_group(name, doc, present)) {
      if (!value) {
        value.emplace();
      }
      value->describe(*this);
    }
    if (!present) {
      value.reset();
    }
    leave_group();
  }
  /// A list of maps.
  template <typename T>
  void list(std::string_view name, std::vector<T>& values, std::string_view doc) {
    values.resize(enter_list(name, doc, values.size()));
    for (std::size_t index = 0; index < values.size(); ++index) {
      enter_item(index);
      values[index].describe(*this);
      leave_group();
    }
    if (values.empty()) {  // lets a documenting visitor see the fields of an item
      T sample{};
      if (enter_sample_item()) {
        sample.describe(*this);
        leave_group();
      }
    }
    leave_list();
  }

 protected:
  /// Returns whether the members shall be visited. `leave_group` follows in every case.
  virtual bool enter_group(std::string_view name, std::string_view doc) = 0;
  /// Reads or writes `present`; returns whether the members shall be visited (a documenting visitor says yes always).
  virtual bool enter_optional_group(std::string_view name, std::string_view doc, bool& present) = 0;
  virtual std::size_t enter_list(std::string_view name, std::string_view doc, std::size_t current) = 0;
  virtual void enter_item(std::size_t index) = 0;
  virtual bool enter_sample_item() = 0;
  virtual void leave_group() = 0;
  virtual void leave_list() = 0;
};

}  // namespace dormer::config
