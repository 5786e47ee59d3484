#include "match_targets.hpp"

#include <algorithm>
#include <string>
#include <vector>

#include <fmt/ranges.h>
#include <fnmatch.h>

#include "dormer/core/error.hpp"
#include "dormer/core/nearest_name.hpp"

namespace dormer::adapter {
namespace {

/// The named sets of the field.
bool in_named_set(const std::string& pattern, const Site& site) {
  if (pattern == "all-linear" || pattern == "attention-mlp") {
    return site.group == "attention" || site.group == "mlp";
  }
  if (pattern == "full") {
    return site.group != "embedding" && site.group != "head" && site.group != "norm" && site.group != "edge";
  }
  return (pattern == "attention" || pattern == "mlp") && site.group == pattern;
}

/// A glob over the whole name, or whole last parts of it: "q_proj" and "self_attn.q_proj" choose as PEFT's lists do.
bool matches_name(const std::string& pattern, const std::string& name) {
  if (fnmatch(pattern.c_str(), name.c_str(), 0) == 0) {
    return true;
  }
  return fnmatch(("*." + pattern).c_str(), name.c_str(), 0) == 0;
}

/// What a person may have meant: whole names and their last parts.
std::vector<std::string> known_names(std::span<const Site> sites) {
  std::vector<std::string> names{"all-linear", "attention", "attention-mlp", "full", "mlp"};
  for (const Site& site : sites) {
    const std::string last = site.name.substr(site.name.rfind('.') + 1);
    if (std::find(names.begin(), names.end(), last) == names.end()) {
      names.push_back(last);
    }
  }
  return names;
}

}  // namespace

std::vector<std::size_t> match_targets(std::string_view key, std::span<const std::string> patterns,
                                       std::span<const Site> sites) {
  std::vector<bool> chosen(sites.size(), false);
  for (const std::string& pattern : patterns) {
    bool any = false;
    for (std::size_t i = 0; i < sites.size(); ++i) {
      if (in_named_set(pattern, sites[i]) || matches_name(pattern, sites[i].name)) {
        chosen[i] = true;
        any = true;
      }
    }
    if (!any) {
      const std::vector<std::string> names = known_names(sites);
      fail(Fault::kUsage, "{}: '{}' matches no layer of the model{}; known: {}", key, pattern,
           did_you_mean(pattern, names), fmt::join(names, ", "));
    }
  }
  std::vector<std::size_t> result;
  for (std::size_t i = 0; i < sites.size(); ++i) {
    if (chosen[i]) {
      result.push_back(i);
    }
  }
  return result;
}

}  // namespace dormer::adapter
