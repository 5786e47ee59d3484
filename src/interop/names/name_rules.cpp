#include "names/name_rules.hpp"

#include <algorithm>

#include "dormer/core/error.hpp"

namespace dormer::interop {
namespace {

bool is_number(std::string_view part) {
  return !part.empty() && std::ranges::all_of(part, [](char c) { return c >= '0' && c <= '9'; });
}

/// What the wildcards of `pattern` stand for in `path`; nothing where it does not match.
std::optional<std::vector<std::string>> captured(std::string_view pattern, std::string_view path) {
  std::vector<std::string> captures;
  while (true) {
    if (pattern == "*") {
      if (path.empty()) {
        return {};
      }
      captures.emplace_back(path);
      return captures;
    }
    const std::string_view wanted = pattern.substr(0, pattern.find('.'));
    const std::string_view part = path.substr(0, path.find('.'));
    if (wanted == "{}" ? !is_number(part) : wanted != part) {
      return {};
    }
    if (wanted == "{}") {
      captures.emplace_back(part);
    }
    const bool pattern_ends = wanted.size() == pattern.size();
    const bool path_ends = part.size() == path.size();
    if (pattern_ends || path_ends) {
      return pattern_ends && path_ends ? std::optional(captures) : std::nullopt;
    }
    pattern.remove_prefix(wanted.size() + 1);
    path.remove_prefix(part.size() + 1);
  }
}

std::optional<RuleMatch> match(const NameRule& rule, std::string_view module) {
  const bool fused = rule.hugging_face.size() > 1;
  RuleMatch found{.rule = &rule};
  for (std::size_t i = 0; i < rule.hugging_face.size(); ++i) {
    if (auto captures = captured(rule.hugging_face[i], module)) {
      found.hugging_face = true;
      found.native = rule.hugging_face[i] == rule.native;
      if (fused) {
        found.part = i;
      }
      found.captures = std::move(*captures);
      return found;
    }
    // OneTrainer's OMI files number the parts of a native layer.
    auto captures = fused ? captured(rule.native + '.' + std::to_string(i), module) : std::nullopt;
    if (captures) {
      found.native = true;
      found.part = i;
      found.captures = std::move(*captures);
      return found;
    }
  }
  if (auto captures = captured(rule.native, module)) {
    found.native = true;
    found.captures = std::move(*captures);
    return found;
  }
  return {};
}

}  // namespace

std::vector<std::string_view> parts_of(std::string_view path) {
  std::vector<std::string_view> parts;
  while (true) {
    const std::size_t end = path.find('.');
    parts.push_back(path.substr(0, end));
    if (end == std::string_view::npos) {
      return parts;
    }
    path.remove_prefix(end + 1);
  }
}

std::optional<RuleMatch> find_rule(const std::vector<NameRule>& rules, std::string_view module) {
  for (const NameRule& rule : rules) {
    if (auto found = match(rule, module)) {
      return found;
    }
  }
  return {};
}

std::string filled(std::string_view pattern, const std::vector<std::string>& captures) {
  std::string result;
  std::size_t next = 0;
  for (const std::string_view part : parts_of(pattern)) {
    const bool wild = part == "{}" || part == "*";
    invariant(!wild || next < captures.size(), "'{}' has more wildcards than its other name", pattern);
    result += result.empty() ? "" : ".";
    result += wild ? std::string_view(captures[next++]) : part;
  }
  return result;
}

std::vector<NameRule> rules_of(ModelFamily family) {
  switch (family) {
    case ModelFamily::kSd1:
      return stable_diffusion_1_rules();
    case ModelFamily::kSdxl:
      return stable_diffusion_xl_rules();
    case ModelFamily::kSd3:
      return stable_diffusion_3_rules();
    case ModelFamily::kFlux:
      return flux_rules();
    case ModelFamily::kUnknown:
    case ModelFamily::kLanguage:
      break;
  }
  return {};
}

}  // namespace dormer::interop
