#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "dormer/adapter/config.hpp"
#include "dormer/adapter/site.hpp"

namespace dormer::adapter {

/// What is trained on one site.
struct SitePlan {
  std::size_t site = 0;                              ///< index in the model's list
  static constexpr const char* kBiasAlone = "bias";  ///< `kind` of a layer whose weight stays and whose bias trains
  std::string kind = "lora";
  bool whole = false;  ///< the weight itself trains: no rank, alpha, scale, dropout or decomposition
  bool decompose = false;
  Axis axis = Axis::kOutput;  ///< of the decomposition
  bool bias = false;          ///< the bias trains beside the change
  std::int64_t rank = 0;
  double alpha = 0.0;
  double scale = 1.0;                        ///< alpha / rank, or alpha / sqrt(rank) where ranks are stabilized
  double dropout = 0.0;                      ///< of the input, in training
  double rank_dropout = 0.0;                 ///< of rows of the change, in training
  double module_dropout = 0.0;               ///< of the whole change, in training
  std::optional<double> learning_rate;       ///< absent: the optimizer's
  std::optional<std::int64_t> stop_after{};  ///< updates after which the parameters stay as they are
  [[nodiscard]] bool drops_parts() const { return rank_dropout > 0.0 || module_dropout > 0.0; }
};

/// The sites that `config` chooses (targets, then layers and exclude), each with what the overrides say, in the model's
/// order, and with `bias: all` those whose bias alone trains. Pure. Throws a usage error for a pattern that matches
/// nothing, an empty choice, overrides that contradict each other or the kind of a layer, an alpha that is not above 0,
/// or a rank above a layer's smaller width.
[[nodiscard]] std::vector<SitePlan> plan_sites(const AdapterConfig& config, std::span<const Site> sites);

/// Block numbers from text such as "8-31" or "0,2,4-7". Throws a usage error for any other text. Pure.
[[nodiscard]] std::vector<std::int64_t> parse_layers(const std::string& text);

}  // namespace dormer::adapter
