#include "sweep/wandb.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include "dormer/core/nearest_name.hpp"
#include "sweep/values.hpp"

namespace dormer::sweep {
namespace {

using config::Member;
using config::Node;
using config::Place;

constexpr const char* kEtaOfWandb = "3";

Node scalar(std::string text, Place place) {
  Node node;
  node.kind = Node::Kind::kScalar;
  node.text = std::move(text);
  node.place = place;
  return node;
}

Node map(Place place, std::vector<Member> members) {
  Node node;
  node.kind = Node::Kind::kMap;
  node.place = place;
  node.members = std::move(members);
  return node;
}

Node pair(const Node& low, const Node& high) {
  Node node;
  node.kind = Node::Kind::kSequence;
  node.place = low.place;
  node.items = {low, high};
  return node;
}

bool is_whole(const Node& node) {
  const std::optional<double> value = number_of(node.text);
  return value && *value == std::round(*value) && node.text.find_first_of(".eE") == std::string::npos;
}

/// One entry of `parameters`, whose map is `node`, in our words; `path` for messages.
class ParameterTranslation {
 public:
  ParameterTranslation(const Node& node, std::string path, Mistakes& mistakes)
      : node_(node), path_(std::move(path)), mistakes_(mistakes) {}

  std::optional<Node> translate() {
    const std::vector<std::string> known{"distribution", "values", "value", "min", "max", "q"};
    for (const Member& member : node_.members) {
      if (std::ranges::find(known, member.key) == known.end()) {
        const bool without_equal = member.key == "probabilities" || member.key == "mu" || member.key == "sigma";
        return reject(member.place,
                      without_equal ? fmt::format("{} has no equal here; every value is as likely, every range has "
                                                  "ends",
                                                  member.key)
                                    : fmt::format("unknown key '{}'{}", member.key, did_you_mean(member.key, known)));
      }
    }
    const Node* distribution = node_.find("distribution");
    const std::string name = distribution != nullptr ? distribution->text : implied();
    if (name == "constant" || name == "categorical") {
      const char* key = name == "constant" ? "value" : "values";
      const Node* found = node_.find(key);
      return found == nullptr ? reject(node_.place, fmt::format("{} wants {}", name, key))
                              : std::optional(form(name == "constant" ? "value" : "choice", *found));
    }
    const Node* low = node_.find("min");
    const Node* high = node_.find("max");
    if (const std::string ours = form_of(name); ours.empty()) {
      return reject(node_.place, name.empty() ? "says nothing to try; write values, value, or min and max"
                                              : fmt::format("distribution {} has no equal here; write uniform, "
                                                            "log_uniform_values, int_uniform or values",
                                                            name));
    } else if (low == nullptr || high == nullptr || !number_of(low->text) || !number_of(high->text)) {
      return reject(node_.place, fmt::format("{} wants min and max, two numbers", name));
    } else if (name == "log_uniform") {  // its ends are exponents of e
      return form(ours, pair(scalar(number_text(std::exp(*number_of(low->text))), low->place),
                             scalar(number_text(std::exp(*number_of(high->text))), high->place)));
    } else {
      Node result = form(ours, pair(*low, *high));
      return name == "q_uniform" ? with_step(std::move(result), *low) : std::optional(std::move(result));
    }
  }

 private:
  std::nullopt_t reject(Place place, std::string text) {
    mistakes_.add(place, path_, std::move(text));
    return std::nullopt;
  }

  [[nodiscard]] Node form(const std::string& key, const Node& value) const {
    return map(node_.place, {{key, value.place, value}});
  }

  /// What W&B takes where no distribution is named.
  [[nodiscard]] std::string implied() const {
    if (node_.find("values") != nullptr) {
      return "categorical";
    }
    if (node_.find("value") != nullptr) {
      return "constant";
    }
    const Node* low = node_.find("min");
    const Node* high = node_.find("max");
    if (low == nullptr || high == nullptr) {
      return "";
    }
    return is_whole(*low) && is_whole(*high) ? "int_uniform" : "uniform";
  }

  static std::string form_of(const std::string& name) {
    if (name == "uniform" || name == "q_uniform") {
      return "uniform";
    }
    if (name == "log_uniform_values" || name == "log_uniform") {
      return "log";
    }
    return name == "int_uniform" ? "int" : "";
  }

  /// q_uniform takes multiples of q; ours counts from the lowest.
  std::optional<Node> with_step(Node range, const Node& low) {
    const Node* q = node_.find("q");
    const std::optional<double> width = q == nullptr ? std::optional(1.0) : number_of(q->text);
    if (!width || *width <= 0.0) {
      return reject(node_.place, "q is a number above 0");
    }
    const double multiple = *number_of(low.text) / *width;
    if (std::abs(multiple - std::round(multiple)) > 1e-9) {
      return reject(node_.place,
                    fmt::format("min, {}, is no multiple of q; write {{uniform: [min, max], step: q}} with "
                                "the lowest value that is meant",
                                low.text));
    }
    const Place place = q == nullptr ? node_.place : q->place;
    range.members.push_back({"step", place, scalar(number_text(*width), place)});
    return range;
  }

  const Node& node_;
  std::string path_;
  Mistakes& mistakes_;
};

void translate_parameters(const Node& parameters, const std::string& prefix, Node& space, Mistakes& mistakes) {
  for (const Member& member : parameters.members) {
    const std::string path = prefix + member.key;
    const Node* nested = member.value.find("parameters");
    if (nested != nullptr && nested->kind == Node::Kind::kMap) {
      translate_parameters(*nested, path + ".", space, mistakes);
    } else if (member.value.kind != Node::Kind::kMap) {
      space.members.push_back({path, member.place, member.value});
    } else if (auto node = ParameterTranslation(member.value, "sweep.parameters." + path, mistakes).translate()) {
      space.members.push_back({path, member.place, std::move(*node)});
    }
  }
}

Node translate_stopping(const Node& terminate, Mistakes& mistakes) {
  const std::string path = "sweep.early_terminate";
  const Node* type = terminate.find("type");
  if (type == nullptr || type->text != "hyperband") {
    mistakes.add(terminate.place, path,
                 fmt::format("type {} is not known here; write hyperband, or stopping: {{kind: …}}",
                             type == nullptr ? "(missing)" : shown(*type)));
  }
  std::vector<Member> members{{"kind", terminate.place, scalar("asha", terminate.place)}};
  bool eta = false;
  for (const Member& member : terminate.members) {
    if (member.key == "min_iter") {
      members.push_back({"minimum_steps", member.place, member.value});
    } else if (member.key == "eta") {
      members.push_back({"factor", member.place, member.value});
      eta = true;
    } else if (member.key != "type" && !(member.key == "strict" && member.value.text == "false")) {
      mistakes.add(member.place, path + "." + member.key,
                   "has no equal here; write min_iter (updates that every trial gets) and eta");
    }
  }
  if (!eta) {
    members.push_back({"factor", terminate.place, scalar(kEtaOfWandb, terminate.place)});
  }
  return map(terminate.place, std::move(members));
}

/// metric: {name, goal} as two keys.
void translate_metric(Node& sweep, const Member& metric, Mistakes& mistakes) {
  for (const Member& member : metric.value.members) {
    if (member.key == "name") {
      sweep.members.push_back({"metric", member.place, member.value});
    } else if (member.key == "goal") {
      sweep.members.push_back({"goal", member.place, member.value});
    } else {
      mistakes.add(member.place, "sweep.metric." + member.key, "has no equal here; write name and goal");
    }
  }
}

}  // namespace

void translate_wandb(Node& sweep, Mistakes& mistakes) {
  const std::vector<Member> written = std::exchange(sweep.members, {});
  const auto beside = [&](const Member& member, std::string_view ours) {
    const bool both = std::ranges::any_of(written, [&](const Member& other) { return other.key == ours; });
    if (both) {
      mistakes.add(member.place, "sweep." + member.key, fmt::format("says the same as {}; write one of them", ours));
    }
    return both;
  };
  for (const Member& member : written) {
    const Node& value = member.value;
    if (member.key == "parameters" && value.kind == Node::Kind::kMap) {
      if (!beside(member, "space")) {
        Node space = map(value.place, {});
        translate_parameters(value, "", space, mistakes);
        sweep.members.push_back({"space", member.place, std::move(space)});
      }
    } else if (member.key == "metric" && value.kind == Node::Kind::kMap) {
      translate_metric(sweep, member, mistakes);
    } else if (member.key == "early_terminate" && value.kind == Node::Kind::kMap) {
      if (!beside(member, "stopping")) {
        sweep.members.push_back({"stopping", member.place, translate_stopping(value, mistakes)});
      }
    } else if (member.key == "run_cap") {
      if (!beside(member, "trials")) {
        sweep.members.push_back({"trials", member.place, value});
      }
    } else if (member.key == "method" && value.text == "bayes") {
      sweep.members.push_back({"method", member.place, scalar("tpe", value.place)});
    } else {
      sweep.members.push_back(member);
    }
  }
}

}  // namespace dormer::sweep
