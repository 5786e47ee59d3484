#include "dormer/sweep/trial_export.hpp"

#include <algorithm>
#include <cmath>
#include <string_view>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "dormer/sweep/importance.hpp"

namespace dormer::sweep {
namespace {

/// A field by RFC 4180.
std::string field(std::string_view text) {
  if (text.find_first_of(",\"\r\n") == std::string_view::npos) {
    return std::string(text);
  }
  std::string result = "\"";
  for (const char character : text) {
    result += character == '"' ? "\"\"" : std::string(1, character);
  }
  return result + '"';
}

std::vector<std::string> paths_of(std::span<const TrialRecord> trials) {
  std::vector<std::string> paths;
  for (const TrialRecord& trial : trials) {
    for (const Setting& setting : trial.settings) {
      if (std::ranges::find(paths, setting.path) == paths.end()) {
        paths.push_back(setting.path);
      }
    }
  }
  return paths;
}

std::string json_string(std::string_view text) {
  return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::string number(double value) {
  return std::isfinite(value) ? fmt::format("{}", value) : "null";
}

std::string setting_json(const std::string& text) {
  // The text itself where it is JSON: a number keeps its digits.
  const bool one_line = text.find('\n') == std::string::npos && !text.empty();
  return one_line && nlohmann::json::accept(text) ? text : json_string(text);
}

std::string trial_json(const TrialRecord& trial) {
  std::string settings;
  for (const Setting& setting : trial.settings) {
    settings +=
        fmt::format("{}{}:{}", settings.empty() ? "" : ",", json_string(setting.path), setting_json(setting.text));
  }
  std::string measurements;
  for (const Measurement& one : trial.measurements) {
    measurements += fmt::format("{}{{\"step\":{},\"value\":{},\"seconds\":{}}}", measurements.empty() ? "" : ",",
                                one.step, number(one.value), number(one.seconds));
  }
  return fmt::format(
      "{{\"trial\":{},\"point\":{},\"replica\":{},\"state\":{},\"value\":{},\"steps\":{},\"seconds\":{},"
      "\"parameters\":{},\"worker\":{},\"reason\":{},\"settings\":{{{}}},\"measurements\":[{}]}}",
      trial.number, trial.point, trial.replica, json_string(name_of(trial.state)),
      trial.value() ? number(*trial.value()) : "null", trial.steps(), number(trial.seconds()),
      trial.parameters ? fmt::format("{}", *trial.parameters) : "null", json_string(trial.worker),
      json_string(trial.reason), settings, measurements);
}

}  // namespace

std::string trials_csv(std::span<const TrialRecord> trials) {
  const std::vector<std::string> paths = paths_of(trials);
  std::string text = "trial,point,replica,state,value,steps,seconds,parameters,worker,reason";
  for (const std::string& path : paths) {
    text += "," + field(path);
  }
  text += "\n";
  for (const TrialRecord& trial : trials) {
    const std::string value = trial.value() ? fmt::format("{}", *trial.value()) : "";
    const std::string parameters = trial.parameters ? fmt::format("{}", *trial.parameters) : "";
    text += fmt::format("{},{},{},{},{},{},{},{},{},{}", trial.number, trial.point, trial.replica, name_of(trial.state),
                        value, trial.steps(), trial.seconds(), parameters, field(trial.worker), field(trial.reason));
    for (const std::string& path : paths) {
      const std::string* setting = setting_of(trial.settings, path);
      text += "," + (setting == nullptr ? std::string() : field(*setting));
    }
    text += "\n";
  }
  return text;
}

std::string trials_json(std::span<const TrialRecord> trials) {
  std::string text = "{\"format\":\"dormer.trials/1\",\"trials\":[";
  for (const TrialRecord& trial : trials) {
    text += (text.back() == '[' ? "\n" : ",\n") + trial_json(trial);
  }
  return text + "\n]}\n";
}

}  // namespace dormer::sweep
