#pragma once

#include <memory>
#include <optional>

#include "decomposition.hpp"
#include "dormer/adapter/change.hpp"

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
          Dropout dropout)
      : change_(std::move(change)),
        decomposition_(std::move(decomposition)),
        parameters_(parameters),
        dropout_(dropout) {}
  [[nodiscard]] Change& change() { return *change_; }
  [[nodiscard]] const Change& change() const { return *change_; }
  [[nodiscard]] Decomposition* decomposition() { return decomposition_.get(); }
  [[nodiscard]] const Decomposition* decomposition() const { return decomposition_.get(); }
  [[nodiscard]] const Dropout& dropout() const { return dropout_; }
  /// Says that a backward pass has added all its gradients. Last parameter first, as backward passes go.
  void announce_gradients() const {
    for (std::size_t index = parameters_.end; index-- > parameters_.begin;) {
      parameters_.space.announce(index);
    }
  }

 private:
  std::unique_ptr<Change> change_;
  std::unique_ptr<Decomposition> decomposition_;  // null: the plain kind
  Parameters parameters_;
  Dropout dropout_;
};

}  // namespace dormer::adapter
