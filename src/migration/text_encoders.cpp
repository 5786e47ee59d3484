#include "text_encoders.hpp"

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include <fmt/format.h>

namespace dormer::migration {

bool is_onetrainers_flow(const std::string& type) {
  return type == "STABLE_DIFFUSION_3" || type == "STABLE_DIFFUSION_35";
}

void set_onetrainers_parts(Translation& t, const std::string& type, bool adapters) {
  const bool flow = is_onetrainers_flow(type);
  const bool two = flow || type == "STABLE_DIFFUSION_XL_10_BASE";
  Json parts = Json::array({flow ? "transformer" : "unet"});
  for (const char* name : {"text_encoder", "text_encoder_2", "text_encoder_3", "text_encoder_4"}) {
    const std::string part = name;
    const bool there = part == "text_encoder" || (part == "text_encoder_2" && two);
    if (adapters && there && t.has(part + ".train") && t.truth(part + ".train")) {
      parts.push_back(part);
    }
    t.ignore({part});
  }
  if (flow || parts.size() > 1) {
    t.set("model.train", parts);
  }
}

void set_onetrainers_text_rates(Translation& t, double common, double rate, double factor) {
  if (!t.ours().contains("model") || !t.ours()["model"].contains("train")) {
    return;
  }
  Json overrides = Json::array();
  for (const Json& part : t.ours()["model"]["train"]) {
    const std::string name = part.get<std::string>();
    if (!name.starts_with("text_encoder")) {
      continue;
    }
    Json own{{"match", name + ".*"}};
    const double named = t.number(name + ".learning_rate").value_or(0.0);
    const double wanted = named > 0.0 ? named : common;
    if (wanted != rate) {
      own["learning_rate"] = wanted * factor;
    }
    const double after = t.number(name + ".stop_training_after").value_or(0.0);
    const std::string unit = t.text(name + ".stop_training_after_unit").value_or("NEVER");
    if (unit == "STEP" && after >= 1.0 && after < 1e15) {
      own["stop_after"] = static_cast<std::int64_t>(after);
    } else if (unit != "NEVER" && after > 0.0) {
      t.tell(fmt::format("{}.stop_training_after: {:g} {}: write adapter.overrides[].stop_after in updates", name,
                         after, unit));
    }
    if (own.size() > 1) {
      overrides.push_back(own);
    }
  }
  if (!overrides.empty()) {
    t.set("adapter.overrides", overrides);
  }
}

void set_kohyas_text_encoders(Translation& t) {
  const bool alone = t.truth("network_train_text_encoder_only");
  std::vector<double> rates;
  if (const Json* value = t.take("text_encoder_lr"); value != nullptr && value->is_array()) {
    for (const Json& each : *value) {
      rates.push_back(each.is_number() ? each.get<double>()
                                       : number_of(each.is_string() ? each.get<std::string>() : ""));
    }
  } else if (const std::optional<double> rate = t.number("text_encoder_lr")) {
    rates.push_back(*rate);
  }
  const bool frozen = !rates.empty() && std::ranges::all_of(rates, [](double rate) { return rate <= 0.0; });
  if (t.truth("network_train_unet_only") || t.truth("cache_text_encoder_outputs") || frozen) {
    return;
  }
  Json parts = Json::array();
  if (!alone) {
    parts.push_back("unet");
  }
  Json overrides = Json::array();
  if (rates.size() > 1) {
    for (std::size_t index = 0; index < 2; ++index) {
      const std::string part = index == 0 ? "text_encoder" : "text_encoder_2";
      if (rates[index] > 0.0) {  // at a rate of 0 its adapters stay what they began as
        parts.push_back(part);
        overrides.push_back({{"match", part + ".*"}, {"learning_rate", rates[index]}});
      }
    }
  } else {
    parts.push_back("text_encoder");
    t.tell("network_train_unet_only: false: of Stable Diffusion XL, add text_encoder_2 to model.train");
    if (!rates.empty()) {
      overrides.push_back({{"match", "text_encoder*"}, {"learning_rate", rates.front()}});
    }
  }
  t.set("model.train", parts);
  if (!overrides.empty()) {
    t.set("adapter.overrides", overrides);
  }
}

}  // namespace dormer::migration
