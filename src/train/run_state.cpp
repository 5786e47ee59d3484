#include "train/run_state.hpp"

#include <limits>

#include <nlohmann/json.hpp>

#include "dormer/core/error.hpp"

namespace dormer::train {
namespace {

using nlohmann::ordered_json;

ordered_json or_null(const std::optional<double>& value) {
  return value ? ordered_json(*value) : ordered_json(nullptr);
}

std::optional<double> optional_number(const ordered_json& value) {
  return value.is_null() ? std::nullopt : std::optional(value.get<double>());
}

ordered_json metrics_to_json(const std::vector<report::Metric>& metrics) {
  ordered_json list = ordered_json::array();
  for (const report::Metric& metric : metrics) {
    std::visit([&](auto value) { list.push_back({metric.name, value}); }, metric.value);
  }
  return list;
}

std::vector<report::Metric> metrics_from_json(const ordered_json& list) {
  std::vector<report::Metric> metrics;
  for (const ordered_json& entry : list) {
    const ordered_json& value = entry.at(1);
    if (value.is_null()) {  // the library writes null for not-a-number
      metrics.push_back({entry.at(0).get<std::string>(), std::numeric_limits<double>::quiet_NaN()});
    } else if (value.is_number_integer()) {
      metrics.push_back({entry.at(0).get<std::string>(), value.get<std::int64_t>()});
    } else {
      metrics.push_back({entry.at(0).get<std::string>(), value.get<double>()});
    }
  }
  return metrics;
}

}  // namespace

std::string to_text(const RunState& state) {
  ordered_json json;
  json["step"] = state.step;
  json["position"] = state.position;
  json["total_steps"] = state.total_steps;
  json["schedule_total"] = state.schedule_total;
  json["skipped"] = state.skipped;
  json["trainable_parameters"] = state.trainable_parameters;
  json["best"] = {{"loss", or_null(state.best.loss)},
                  {"step", state.best.step},
                  {"without_improvement", state.best.without_improvement}};
  json["first_validation_loss"] = or_null(state.first_validation_loss);
  json["last_validation_loss"] = or_null(state.last_validation_loss);
  json["step_validation_loss"] = or_null(state.step_validation_loss);
  json["finished"] = state.finished;
  json["validation_pending"] = state.validation_pending;
  json["step_metrics"] = metrics_to_json(state.step_metrics);
  json["config"] = state.config;
  json["fingerprint"] = state.fingerprint;
  json["inexact_since"] = state.inexact_since;
  return json.dump();
}

RunState parse_run_state(std::string_view text, const std::string& where) {
  try {
    const ordered_json json = ordered_json::parse(text);
    RunState state;
    state.step = json.at("step").get<std::int64_t>();
    state.position = json.at("position").get<std::int64_t>();
    state.total_steps = json.at("total_steps").get<std::int64_t>();
    state.schedule_total = json.at("schedule_total").get<std::int64_t>();
    state.skipped = json.value("skipped", std::int64_t{0});  // versions before 0.4 skipped none
    state.trainable_parameters = json.value("trainable_parameters", std::int64_t{0});
    const ordered_json& best = json.at("best");
    state.best = {.loss = optional_number(best.at("loss")),
                  .step = best.at("step").get<std::int64_t>(),
                  .without_improvement = best.at("without_improvement").get<std::int64_t>()};
    state.first_validation_loss = optional_number(json.at("first_validation_loss"));
    state.last_validation_loss = optional_number(json.at("last_validation_loss"));
    state.step_validation_loss = optional_number(json.at("step_validation_loss"));
    state.finished = json.at("finished").get<bool>();
    state.validation_pending = json.at("validation_pending").get<bool>();
    state.step_metrics = metrics_from_json(json.at("step_metrics"));
    state.config = json.at("config").get<std::map<std::string, std::string>>();
    state.fingerprint = json.at("fingerprint").get<Fingerprint>();
    state.inexact_since = json.at("inexact_since").get<std::vector<std::string>>();
    return state;
  } catch (const ordered_json::exception& error) {
    fail(Fault::kInput, "{} holds no state of a run: {}", where, error.what());
  }
}

}  // namespace dormer::train
