#include "dormer/train/run.hpp"

#include "dormer/tensor/process.hpp"
#include "train/loop.hpp"
#include "train/preparation.hpp"

namespace dormer::train {

TrainResult train(const RunConfig& config, comm::Communicator& communicator, const TrainOptions& options) {
  tensor::configure_process(config.run.threads);
  Preparation preparation(config, communicator, options);
  if (const std::optional<TrainResult> complete = preparation.already_complete()) {
    return *complete;
  }
  preparation.load();
  return Loop(preparation, options).run();
}

}  // namespace dormer::train
