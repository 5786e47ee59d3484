#pragma once

#include <cstddef>
#include <optional>
#include <span>

#include "dormer/adapter/adapter_set.hpp"
#include "dormer/adapter/site.hpp"
#include "dormer/tensor/forward.hpp"

namespace dormer::adapter {

/// The head of a model where it trains whole: whoever makes the logits takes it in the place of the frozen one. Refers
/// to the trial's adapters.
class TrainedHead {
 public:
  TrainedHead(const AdapterSet& adapters, const Site& site);
  [[nodiscard]] const at::Tensor& weight() const;  ///< [vocabulary, width], compute dtype
  /// Whether somebody wants its gradient: a slot is bound, and it still trains.
  [[nodiscard]] bool wants_gradient() const;
  [[nodiscard]] at::Tensor gradient() const;  ///< fp32 [vocabulary, width]: the bound slot
  /// Says that a backward pass has added all its gradients.
  void announce_gradient() const;

 private:
  const AdapterSet& adapters_;
  const Adapter& adapter_;
  std::size_t parameter_;
};

/// That of the pack's trial, or nothing. `layers` are the model's. Packs where one trains its head are of one trial.
[[nodiscard]] std::optional<TrainedHead> trained_head(const Pack& pack, std::span<const FrozenLayer> layers);

}  // namespace dormer::adapter
