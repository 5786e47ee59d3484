#include "dormer/train/run.hpp"

#include "dormer/core/error.hpp"
#include "dormer/tensor/process.hpp"
#include "train/loop.hpp"
#include "train/preparation.hpp"
#include "train/run_report.hpp"

namespace dormer::train {

TrainResult train(const RunConfig& config, comm::Communicator& communicator, const TrainOptions& options) {
  tensor::configure_process(config.run.threads);
  Preparation preparation(config, communicator, options);
  if (const std::optional<TrainResult> complete = preparation.already_complete()) {
    return *complete;
  }
  preparation.load();
  RunReport report(preparation);
  report.begin();
  try {
    const TrainResult result = Loop(preparation, options, report).run();
    report.end(result.outcome);
    return result;
  } catch (const Error& error) {
    report.failed(error.exit_code(), error.what());
    throw;
  }
}

}  // namespace dormer::train
