#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "dormer/comm/communicator.hpp"
#include "dormer/train/run_config.hpp"

namespace dormer::train {

struct EvaluateOptions {
  std::optional<std::filesystem::path> adapter;  ///< in any form of interop; absent: the base alone
  std::optional<std::int64_t> samples;           ///< absent: `validation.samples`
  /// Rank 0 also writes a safetensors file with the first sample: "tokens" int64 [length + 1], "logits" fp32 [length,
  /// vocabulary].
  std::optional<std::filesystem::path> logits = {};  ///< of text alone
};

struct Evaluation {
  double loss = 0.0;  ///< mean over the targets: of text in natural-log units, of images as the objective weighs them
  std::int64_t samples = 0;
  std::int64_t targets = 0;
  std::vector<std::pair<std::string, double>> concepts;  ///< of images, where several concepts are held out
};

/// The held-out loss of `config`'s base, alone or with an adapter of `config.adapter`'s form (of images, of any): the
/// number that training writes as `validation_loss`. Touches no run directory; of images it fills the cache. All ranks
/// call with equal arguments and get equal answers.
[[nodiscard]] Evaluation evaluate(const RunConfig& config, comm::Communicator& communicator,
                                  const EvaluateOptions& options = {});

}  // namespace dormer::train
