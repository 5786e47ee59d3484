#include "dormer/sweep/event.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include <nlohmann/json.hpp>

namespace dormer::sweep {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::array<std::pair<EventKind, std::string_view>, 9> kNames{{{EventKind::kBegun, "begun"},
                                                                        {EventKind::kStarted, "started"},
                                                                        {EventKind::kMeasured, "measured"},
                                                                        {EventKind::kReleased, "released"},
                                                                        {EventKind::kFailed, "failed"},
                                                                        {EventKind::kLost, "lost"},
                                                                        {EventKind::kStopped, "stopped"},
                                                                        {EventKind::kAdded, "added"},
                                                                        {EventKind::kInputs, "inputs"}}};

std::string_view name_of(EventKind kind) {
  return std::ranges::find(kNames, kind, &std::pair<EventKind, std::string_view>::first)->second;
}

// JSON has no infinity; a measurement that is not finite is null, and read as not-a-number.
Json number(double value) {
  return std::isfinite(value) ? Json(value) : Json(nullptr);
}

double number_of(const Json& value) {
  return value.is_null() ? std::nan("") : value.get<double>();
}

}  // namespace

std::string to_line(const Event& event) {
  Json line{{"event", name_of(event.kind)}};
  if (event.trial >= 0) {
    line["trial"] = event.trial;
    line["attempt"] = event.attempt;
  }
  if (event.step > 0) {
    line["step"] = event.step;
  }
  if (event.finished) {
    line["finished"] = true;
  }
  if (event.parameters > 0) {
    line["parameters"] = event.parameters;
  }
  if (!event.worker.empty()) {
    line["worker"] = event.worker;
  }
  for (const Measurement& measurement : event.measurements) {
    line["measurements"].push_back({measurement.step, number(measurement.value), number(measurement.seconds)});
  }
  for (const auto& [trial, step] : event.saved) {
    line["saved"].push_back({trial, step});
  }
  if (event.kind == EventKind::kFailed) {
    line["exit_code"] = static_cast<int>(event.fault);
  }
  if (!event.text.empty()) {
    line["text"] = event.text;
  }
  if (event.settings) {
    Json& settings = line["settings"] = Json::array();
    for (const Setting& setting : *event.settings) {
      settings.push_back({setting.path, setting.text});
    }
  }
  line["time"] = event.time;
  // A reason may hold anything that a library said.
  return line.dump(-1, ' ', false, Json::error_handler_t::replace);
}

Event parse_event(std::string_view text, const std::string& where) {
  try {
    const Json line = Json::parse(text);
    const auto name = line.at("event").get<std::string>();
    const auto* const found = std::ranges::find(kNames, name, &std::pair<EventKind, std::string_view>::second);
    require(found != kNames.end(), Fault::kInput, "{}: an event '{}', which this program does not know", where, name);
    Event event;
    event.kind = found->first;
    event.trial = line.value("trial", std::int64_t{-1});
    event.attempt = line.value("attempt", std::int64_t{0});
    event.step = line.value("step", std::int64_t{0});
    event.finished = line.value("finished", false);
    event.parameters = line.value("parameters", std::int64_t{0});
    event.worker = line.value("worker", std::string());
    event.fault = static_cast<Fault>(line.value("exit_code", static_cast<int>(Fault::kBug)));
    event.text = line.value("text", std::string());
    event.time = line.value("time", 0.0);
    if (const auto measurements = line.find("measurements"); measurements != line.end()) {
      for (const Json& one : *measurements) {
        event.measurements.push_back(
            {.step = one.at(0).get<std::int64_t>(), .value = number_of(one.at(1)), .seconds = number_of(one.at(2))});
      }
    }
    if (const auto saved = line.find("saved"); saved != line.end()) {
      for (const Json& one : *saved) {
        event.saved.emplace_back(one.at(0).get<std::int64_t>(), one.at(1).get<std::int64_t>());
      }
    }
    if (const auto settings = line.find("settings"); settings != line.end()) {
      event.settings.emplace();
      for (const Json& one : *settings) {
        event.settings->push_back({one.at(0).get<std::string>(), one.at(1).get<std::string>()});
      }
    }
    return event;
  } catch (const nlohmann::json::exception& error) {
    fail(Fault::kInput, "{}: not a line of a sweep's journal: {}", where, error.what());
  }
}

}  // namespace dormer::sweep
