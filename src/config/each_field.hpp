#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "dormer/config/visitor.hpp"

namespace dormer::config {

/// Sends the fields of every type to one template, `Derived::visit(name, value, field)`.
template <typename Derived>
class EachField : public Visitor {
 public:
  void field(std::string_view name, bool& value, const Field& field) override { send(name, value, field); }
  void field(std::string_view name, std::int64_t& value, const Field& field) override { send(name, value, field); }
  void field(std::string_view name, double& value, const Field& field) override { send(name, value, field); }
  void field(std::string_view name, std::string& value, const Field& field) override { send(name, value, field); }
  void field(std::string_view name, std::filesystem::path& value, const Field& field) override {
    send(name, value, field);
  }
  void field(std::string_view name, std::optional<std::int64_t>& value, const Field& field) override {
    send(name, value, field);
  }
  void field(std::string_view name, std::optional<double>& value, const Field& field) override {
    send(name, value, field);
  }
  void field(std::string_view name, std::optional<std::string>& value, const Field& field) override {
    send(name, value, field);
  }
  void field(std::string_view name, std::vector<std::string>& value, const Field& field) override {
    send(name, value, field);
  }
  void field(std::string_view name, std::vector<double>& value, const Field& field) override {
    send(name, value, field);
  }
  void field(std::string_view name, Cadence& value, const Field& field) override { send(name, value, field); }
  void field(std::string_view name, StepsOrShare& value, const Field& field) override { send(name, value, field); }
  void field(std::string_view name, Expression& value, const Field& field) override { send(name, value, field); }
  void field(std::string_view name, Duration& value, const Field& field) override { send(name, value, field); }

 private:
  template <typename T>
  void send(std::string_view name, T& value, const Field& field) {
    static_cast<Derived&>(*this).visit(name, value, field);
  }
};

}  // namespace dormer::config
