#include <fmt/format.h>

#include "dormer/config/write.hpp"
#include "dormer/core/sha256.hpp"
#include "dormer/sweep/sweep_config.hpp"
#include "sweep/values.hpp"

namespace dormer::sweep {
namespace {

// The texts below are hashed: they are a format, which a sweep that goes on must find unchanged. Each part has its
// length before it, so that no two sweeps have one text.
std::string part(const std::string& text) {
  return fmt::format("{}:{};", text.size(), text);
}

std::string part(double value) {
  return part(number_text(value));
}

std::string parts(const std::vector<Condition>& conditions) {
  std::string text;
  for (const Condition& condition : conditions) {
    text += part(condition.path);
    for (const std::string& value : condition.values) {
      text += part(value);
    }
    text += "|";
  }
  return part(text);
}

std::string parts(const Parameter& parameter) {
  std::string options;
  for (const Option& option : parameter.options) {
    for (const Setting& setting : option.settings) {
      options += part(setting.path) + part(setting.text);
    }
    options += "|";
  }
  return "parameter " + part(parameter.name) + part(static_cast<double>(parameter.kind)) +
         part(parameter.logarithmic ? 1.0 : 0.0) + part(parameter.low) + part(parameter.high) + part(parameter.step) +
         part(static_cast<double>(parameter.steps.value_or(0))) + part(options) + parts(parameter.when);
}

std::string parts(const Follower& follower) {
  return "follower " + part(follower.path) + part(follower.text) + part(follower.expression.text) +
         parts(follower.when);
}

}  // namespace

std::string identity(const SweepConfig& config) {
  std::string text = "dormer sweep 1;";
  for (const Space::Entry& entry : config.space.entries()) {
    text += std::visit([](const auto& each) { return parts(each); }, entry);
  }
  // Adding to these keys would make another sweep of every sweep there is: their list is part of the format.
  const SweepSection& sweep = config.sweep;
  text += part(sweep.method) + part(static_cast<double>(sweep.seeds)) + part(std::to_string(sweep.seed)) +
          part(sweep.metric) + part(sweep.goal) + part(sweep.stopping.kind) +
          part(static_cast<double>(sweep.stopping.minimum_steps.value_or(0))) +
          part(static_cast<double>(sweep.stopping.factor)) +
          part(static_cast<double>(sweep.stopping.patience.value_or(0))) + part(static_cast<double>(sweep.lag)) +
          part(sweep.evaluate.value_or(""));
  for (const auto& [key, value] : train::lasting_values(config::flatten(config.run))) {
    text += part(key) + part(value);
  }
  return sha256_hex(text);
}

}  // namespace dormer::sweep
