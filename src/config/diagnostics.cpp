#include "config/diagnostics.hpp"

#include <algorithm>
#include <tuple>

#include "dormer/core/error.hpp"

namespace dormer::config {
namespace {

constexpr std::size_t kShownAtMost = 50;

std::string_view group_of(std::string_view path) {
  return path.substr(0, path.find('.'));
}

}  // namespace

void Diagnostics::add(Place place, std::string_view path, std::string_view text) {
  mistakes_.push_back({place, std::string(path), std::string(text)});
  groups_.emplace(group_of(path));
}

bool Diagnostics::concerns_group_of(std::string_view path) const {
  return groups_.contains(group_of(path));
}

void refuse(const Document& document, std::vector<Mistake> mistakes) {
  if (mistakes.empty()) {
    return;
  }
  std::ranges::stable_sort(mistakes, {}, [](const Mistake& mistake) {
    return std::tuple(mistake.place.override_index, mistake.place.line);
  });
  std::string message;
  for (std::size_t i = 0; i < std::min(mistakes.size(), kShownAtMost); ++i) {
    const auto& [place, path, text] = mistakes[i];
    const std::string where = place.override_index < 0
                                  ? fmt::format("{}:{}", document.name, place.line)
                                  : "--set " + document.overrides[static_cast<std::size_t>(place.override_index)];
    message += fmt::format("{}{}: {}{}{}", i == 0 ? "" : "\n", where, path, path.empty() ? "" : ": ", text);
  }
  if (mistakes.size() > kShownAtMost) {
    message += fmt::format("\n{}: and {} more", document.name, mistakes.size() - kShownAtMost);
  }
  throw Error(Fault::kUsage, message);
}

}  // namespace dormer::config
