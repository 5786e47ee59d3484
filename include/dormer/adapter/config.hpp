#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "dormer/adapter/site.hpp"
#include "dormer/adapter/start.hpp"
#include "dormer/config/visitor.hpp"

namespace dormer::adapter {

/// DoRA (Liu et al. 2024, "DoRA: Weight-Decomposed Low-Rank Adaptation").
struct DecomposeConfig {
  std::string axis = "auto";   ///< auto | output | input; who starts a run settles auto by its exports
  double epsilon = 0.0;        ///< added to every norm
  bool norm_gradient = false;  ///< whether the norm passes gradients on
  void describe(config::Visitor& visitor);
};

/// Sites that differ from the rest.
struct OverrideConfig {
  std::string match;                         ///< a pattern as in `targets`
  std::optional<std::string> kind{};         ///< absent: the adapter's
  std::optional<std::int64_t> rank{};        ///< absent: the adapter's
  config::Expression alpha{};                ///< absent: the adapter's, evaluated with this rank
  std::optional<double> dropout{};           ///< absent: the adapter's
  std::optional<double> rank_dropout{};      ///< absent: the adapter's
  std::optional<double> module_dropout{};    ///< absent: the adapter's
  std::optional<double> learning_rate{};     ///< absent: the optimizer's
  std::optional<std::int64_t> stop_after{};  ///< updates after which the parameters stay as they are
  void describe(config::Visitor& visitor);
};

struct AdapterConfig {
  static constexpr double kMaximumDropout = 0.999;
  std::string kind = "lora";
  std::int64_t rank = 16;
  config::Expression alpha;                      ///< absent = rank, that is scale 1
  bool rank_stabilized = false;                  ///< rsLoRA (Kalajdzievski 2023): alpha / sqrt(rank)
  std::optional<std::int64_t> conv_rank;         ///< of convolutions; absent = rank
  config::Expression conv_alpha;                 ///< of convolutions; absent = alpha, evaluated with their rank
  bool tucker = false;                           ///< kernels of more than one tap get a factor of their own
  std::int64_t factor = -1;                      ///< LoKr: what widths are divided by; -1: near their square roots
  bool decompose_both = false;                   ///< LoKr: the small factor may be low-rank, too
  bool full_matrix = false;                      ///< LoKr: both factors whole
  std::string start = "kaiming";                 ///< kaiming | gaussian | pissa | pissa_fast | olora | eva
  std::int64_t start_iterations = 16;            ///< pissa_fast: of the randomized decomposition
  std::int64_t start_samples = 32;               ///< eva: of the training data
  double dropout = 0.0;                          ///< of the adapter's input, in training
  std::optional<std::string> dropout_placement;  ///< input | whole; absent: the profile's, else input
  double rank_dropout = 0.0;                     ///< of rows of the change, in training, drawn for every update
  bool rank_dropout_scale = false;               ///< kept rows are divided by their share
  double module_dropout = 0.0;                   ///< of a site's whole change and magnitudes, the same
  std::optional<std::string> profile;            ///< peft | lycoris | onetrainer | nvlabs
  std::optional<DecomposeConfig> decompose;
  std::string bias = "none";  ///< none | all | adapter_only: which biases train
  std::vector<std::string> targets{"all-linear"};
  std::vector<std::string> exclude;   ///< patterns of sites that get none
  std::optional<std::string> layers;  ///< block numbers such as "8-31"; absent: all
  std::optional<std::string> init_from;
  std::vector<OverrideConfig> overrides;
  void describe(config::Visitor& visitor);
  /// `start` and its iterations.
  [[nodiscard]] StartRule start_rule() const;
  /// The axis of the decomposition; auto counts as the profile's, else as output. Without decomposition it means
  /// nothing.
  [[nodiscard]] Axis axis() const;
  [[nodiscard]] double epsilon() const;         ///< of the decomposition or the profile
  [[nodiscard]] bool norm_gradient() const;     ///< the same
  [[nodiscard]] bool whole_dropout() const;     ///< whether the layer's own product sees the dropped input, too
  [[nodiscard]] bool rounds_magnitude() const;  ///< whether magnitudes start in the dtype of the frozen weight
  /// The factor of the low-rank change where no override says otherwise.
  [[nodiscard]] double scale() const;
  /// The factor for this rank and alpha: alpha / rank, or alpha / sqrt(rank) where ranks are stabilized.
  [[nodiscard]] double scale_of(std::int64_t site_rank, double site_alpha) const;
  /// `alpha`, its expression evaluated with `rank`; throws a usage error for one that cannot be.
  [[nodiscard]] double alpha_value() const;
  [[nodiscard]] double alpha_for(std::int64_t site_rank) const;
};

}  // namespace dormer::adapter
