#include "dormer/train/run.hpp"

#include <exception>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "dormer/core/error.hpp"
#include "dormer/tensor/process.hpp"
#include "train/lanes.hpp"

namespace dormer::train {
namespace {

LaneOutcome outcome_of(const Lane& lane) {
  if (lane.result()) {
    return {.result = lane.result(), .message = {}};
  }
  try {
    std::rethrow_exception(lane.error());
  } catch (const Error& error) {
    return {.result = std::nullopt, .fault = error.fault(), .message = error.what()};
  } catch (const std::exception& error) {
    return {.result = std::nullopt, .fault = Fault::kBug, .message = error.what()};
  }
}

}  // namespace

TrainResult train(const RunConfig& config, comm::Communicator& communicator, const TrainOptions& options) {
  tensor::configure_process(config.run.threads);
  std::vector<std::unique_ptr<Lane>> lanes;
  lanes.push_back(std::make_unique<Lane>(config, communicator, options, 0));
  run_lanes(lanes);
  if (lanes.front()->error()) {
    std::rethrow_exception(lanes.front()->error());
  }
  return *lanes.front()->result();
}

std::vector<LaneOutcome> train_pack(std::span<const RunConfig> configs, comm::Communicator& communicator,
                                    const TrainOptions& options) {
  require(!configs.empty(), Fault::kUsage, "a pack of no runs");
  tensor::configure_process(configs.front().run.threads);
  std::vector<std::unique_ptr<Lane>> lanes;
  for (const RunConfig& config : configs) {
    lanes.push_back(std::make_unique<Lane>(config, communicator, options, lanes.size()));
  }
  run_lanes(lanes);
  std::vector<LaneOutcome> outcomes;
  for (const std::unique_ptr<Lane>& lane : lanes) {
    outcomes.push_back(outcome_of(*lane));
  }
  return outcomes;
}

}  // namespace dormer::train
