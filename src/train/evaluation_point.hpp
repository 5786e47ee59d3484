#pragma once

#include <memory>

#include "dormer/tensor/forward.hpp"

namespace dormer::train {

class Trial;

/// While it lives, the adapters hold the parameters that a run is for: with an optimizer that keeps an average of them
/// (schedule_free_adamw) the average, else those that are trained. All ranks make one together; its end moves nothing
/// between ranks.
class EvaluationPoint {
 public:
  explicit EvaluationPoint(Trial& trial);
  ~EvaluationPoint();
  EvaluationPoint(const EvaluationPoint&) = delete;
  EvaluationPoint& operator=(const EvaluationPoint&) = delete;

  /// The flat space as it is trained, fp32 [size]; null where there is no average.
  [[nodiscard]] const at::Tensor* trained() const { return trained_.get(); }

 private:
  Trial& trial_;
  std::unique_ptr<at::Tensor> trained_;
};

}  // namespace dormer::train
