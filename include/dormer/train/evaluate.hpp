#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>

#include "dormer/comm/communicator.hpp"
#include "dormer/train/run_config.hpp"

namespace dormer::train {

struct EvaluateOptions {
  std::optional<std::filesystem::path> adapter;  ///< in any form of interop; absent: the base alone
  std::optional<std::int64_t> samples;           ///< absent: `validation.samples`
  /// Rank 0 also writes a safetensors file with the first sample: "tokens" int64 [length + 1], "logits" fp32 [length,
  /// vocabulary].
  std::optional<std::filesystem::path> logits = {};
};

struct Evaluation {
  double loss = 0.0;  ///< mean over the targets, in natural-log units
  std::int64_t samples = 0;
  std::int64_t targets = 0;
};

/// The held-out loss of `config`'s base, alone or with an adapter of `config.adapter`'s form: the number that training
/// writes as `validation_loss`. Touches no run directory. All ranks call with equal arguments and get equal answers.
[[nodiscard]] Evaluation evaluate(const RunConfig& config, comm::Communicator& communicator,
                                  const EvaluateOptions& options = {});

}  // namespace dormer::train
