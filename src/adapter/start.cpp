#include "dormer/adapter/start.hpp"

#include <algorithm>
#include <array>

#include "dormer/core/error.hpp"

namespace dormer::adapter {
namespace {

constexpr std::array<std::string_view, 6> kNames{"kaiming", "gaussian", "pissa", "pissa_fast", "olora", "eva"};

}  // namespace

std::vector<std::string> start_names() {
  return {kNames.begin(), kNames.end()};
}

Start start_named(std::string_view name) {
  const auto found = std::ranges::find(kNames, name);
  invariant(found != kNames.end(), "no start of this name: {}", name);
  return static_cast<Start>(found - kNames.begin());
}

bool takes_from_weight(Start start) {
  return start == Start::kPissa || start == Start::kPissaFast || start == Start::kOlora;
}

bool takes_from_data(Start start) {
  return start == Start::kEva;
}

}  // namespace dormer::adapter
