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
  entries_.push_back({place, path.empty() ? std::string(text) : fmt::format("{}: {}", path, text)});
  groups_.emplace(group_of(path));
}

bool Diagnostics::concerns_group_of(std::string_view path) const {
  return groups_.contains(group_of(path));
}

void Diagnostics::throw_if_any() const {
  if (entries_.empty()) {
    return;
  }
  std::vector<Entry> sorted = entries_;
  std::ranges::stable_sort(sorted, {},
                           [](const Entry& entry) { return std::tuple(entry.place.override_index, entry.place.line); });
  std::string message;
  for (std::size_t i = 0; i < std::min(sorted.size(), kShownAtMost); ++i) {
    const auto& [place, text] = sorted[i];
    const std::string where = place.override_index < 0
                                  ? fmt::format("{}:{}", file_, place.line)
                                  : "--set " + overrides_[static_cast<std::size_t>(place.override_index)];
    message += fmt::format("{}{}: {}", i == 0 ? "" : "\n", where, text);
  }
  if (sorted.size() > kShownAtMost) {
    message += fmt::format("\n{}: and {} more", file_, sorted.size() - kShownAtMost);
  }
  throw Error(Fault::kUsage, message);
}

}  // namespace dormer::config
