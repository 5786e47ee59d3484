#pragma once

#include <span>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "dormer/core/random_key.hpp"
#include "dormer/tensor/dropout.hpp"

namespace dormer::adapter {

/// The dropout of one site's input on the rows of one segment. As PEFT places it only the adapter's part sees the
/// dropped input; placed whole the layer's own product does, too.
class InputDropout {
 public:
  InputDropout() = default;
  /// The site's part of every sample's key. No keys (outside of training) or rate 0: nothing is dropped.
  InputDropout(double rate, bool whole, const std::string& site, std::span<const RandomKey> sample_keys)
      : rate_(rate), whole_(whole) {
    if (rate > 0.0) {
      for (const RandomKey key : sample_keys) {
        keys_.push_back(key.child(site));
      }
    }
  }

  [[nodiscard]] bool active() const { return !keys_.empty(); }
  [[nodiscard]] bool whole() const { return active() && whole_; }
  /// x or a gradient times the mask; itself where nothing is dropped.
  [[nodiscard]] at::Tensor apply(const at::Tensor& x) const {
    return active() ? tensor::dropped_out(x, keys_, rate_) : x;
  }

 private:
  double rate_ = 0.0;
  bool whole_ = false;
  std::vector<RandomKey> keys_;
};

}  // namespace dormer::adapter
