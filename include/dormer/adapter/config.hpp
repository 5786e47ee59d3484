#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "dormer/config/visitor.hpp"

namespace dormer::adapter {

/// DoRA (Liu et al. 2024, "DoRA: Weight-Decomposed Low-Rank Adaptation").
struct DecomposeConfig {
  std::string axis = "auto";  ///< auto | output (input waits for its consumers)
  void describe(config::Visitor& visitor);
};

/// Sites that differ from the rest. The key is known, so that files which name it get a clear answer.
struct OverrideConfig {
  std::string match;
  void describe(config::Visitor& visitor);
};

struct AdapterConfig {
  std::string kind = "lora";
  std::int64_t rank = 16;
  config::Expression alpha;      ///< absent = rank, that is scale 1
  bool rank_stabilized = false;  ///< true is refused until every export can say it
  std::optional<DecomposeConfig> decompose;
  std::vector<std::string> targets{"all-linear"};
  std::optional<std::string> init_from;
  std::vector<OverrideConfig> overrides;  ///< refused unless empty
  void describe(config::Visitor& visitor);
  /// alpha / rank, the factor of the low-rank change.
  [[nodiscard]] double scale() const;
  /// `alpha`, its expression evaluated with `rank`; throws a usage error for one that cannot be.
  [[nodiscard]] double alpha_value() const;
};

}  // namespace dormer::adapter
