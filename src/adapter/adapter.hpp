#pragma once

#include <memory>
#include <optional>
#include <utility>

#include "decomposition.hpp"
#include "dormer/adapter/change.hpp"
#include "trained_bias.hpp"

namespace dormer::adapter {

/// One site's change with its optional decomposition.
class Adapter {
 public:
  /// Its parameters, which the space holds one after the other; `end` excluded.
  struct Parameters {
    const tensor::FlatSpace& space;
    std::size_t begin = 0;
    std::size_t end = 0;
  };
  /// Of the layer's input, in training.
  struct Dropout {
    double rate = 0.0;
    bool whole = false;  ///< whether the layer's own product sees it, too
  };
  Adapter(std::unique_ptr<Change> change, std::unique_ptr<Decomposition> decomposition, Parameters parameters,
          Dropout dropout, std::shared_ptr<TrainedBias> bias)
      : change_(std::move(change)),
        decomposition_(std::move(decomposition)),
        bias_(std::move(bias)),
        parameters_(parameters),
        dropout_(dropout) {}
  [[nodiscard]] Change& change() { return *change_; }
  [[nodiscard]] const Change& change() const { return *change_; }
  [[nodiscard]] Decomposition* decomposition() { return decomposition_.get(); }
  [[nodiscard]] const Decomposition* decomposition() const { return decomposition_.get(); }
  /// The bias where it trains, or null.
  [[nodiscard]] const std::shared_ptr<TrainedBias>& bias() const { return bias_; }
  [[nodiscard]] const Dropout& dropout() const { return dropout_; }
  [[nodiscard]] const Parameters& parameters() const { return parameters_; }
  /// Says that a backward pass has added all its gradients. Last parameter first, as backward passes go.
  void announce_gradients() const {
    for (std::size_t index = parameters_.end; index-- > parameters_.begin;) {
      parameters_.space.announce(index);
    }
  }

 private:
  std::unique_ptr<Change> change_;
  std::unique_ptr<Decomposition> decomposition_;  // null: the plain kind
  std::shared_ptr<TrainedBias> bias_;             // null: frozen. An update's draw of dropout shares it
  Parameters parameters_;
  Dropout dropout_;
};

}  // namespace dormer::adapter
