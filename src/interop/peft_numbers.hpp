#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "dormer/interop/stored_adapter.hpp"

namespace dormer::interop {

/// The numbers of an adapter_config.json: r and lora_alpha, and what single layers have instead.
struct PeftNumbers {
  struct Pair {
    std::int64_t rank = 8;
    double alpha = 8.0;
    [[nodiscard]] bool operator==(const Pair&) const = default;
  };
  bool rank_stabilized = false;  ///< alpha / sqrt(rank) then is every scale
  Pair usual{};                  ///< the commonest
  std::map<std::string, Pair> layers{};
};

/// Numbers from which PEFT computes exactly every layer's scale: those that the layers carry where they do, else
/// alpha = scale * rank. LoKr layers whose two factors are whole get the rank at which PEFT keeps them so, and the
/// scale
/// 1. Pure.
[[nodiscard]] PeftNumbers peft_numbers(const StoredAdapter& adapter, bool decompose_both = false);

}  // namespace dormer::interop
