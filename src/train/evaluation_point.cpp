#include "train/evaluation_point.hpp"

#include <ATen/core/Tensor.h>

#include "train/trial.hpp"

namespace dormer::train {

EvaluationPoint::EvaluationPoint(Trial& trial) : trial_(trial) {
  if (trial.optimizer().averages()) {
    trained_ = std::make_unique<at::Tensor>(trial.adapters().space().values().clone());
    trial.average();
  }
}

EvaluationPoint::~EvaluationPoint() {
  if (trained_) {
    trial_.adapters().space().values().copy_(*trained_);
    trial_.adapters().space().mark_written();
    trial_.adapters().refresh();
  }
}

}  // namespace dormer::train
