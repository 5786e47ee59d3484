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
  LaneOutcome outcome{.result = lane.result(), .message = {}, .seconds = lane.seconds()};
  if (outcome.result) {
    return outcome;
  }
  try {
    std::rethrow_exception(lane.error());
  } catch (const Error& error) {
    outcome.fault = error.fault();
    outcome.message = error.what();
  } catch (const std::exception& error) {
    outcome.message = error.what();
  }
  return outcome;
}

/// Runs that are all there from the start.
class TogetherFromTheStart final : public LaneFeed {
 public:
  TogetherFromTheStart(std::span<const RunConfig> configs, comm::Communicator& communicator,
                       const TrainOptions& options)
      : configs_(configs), communicator_(communicator), options_(options), outcomes_(configs.size()) {}

  std::vector<std::unique_ptr<Lane>> join(const PackTurn& turn) override {
    std::vector<std::unique_ptr<Lane>> lanes;
    if (turn.active == 0 && !std::exchange(joined_, true)) {
      for (const RunConfig& config : configs_) {
        lanes.push_back(std::make_unique<Lane>(config, communicator_, options_, lanes.size()));
      }
    }
    return lanes;
  }

  void ended(const Lane& lane) override {
    outcomes_[lane.number()] = outcome_of(lane);
    if (first_error_ == nullptr) {
      first_error_ = lane.error();
    }
  }

  [[nodiscard]] std::vector<LaneOutcome>& outcomes() { return outcomes_; }
  [[nodiscard]] const std::exception_ptr& first_error() const { return first_error_; }

 private:
  std::span<const RunConfig> configs_;
  comm::Communicator& communicator_;
  const TrainOptions& options_;
  std::vector<LaneOutcome> outcomes_;
  std::exception_ptr first_error_;
  bool joined_ = false;
};

class FromSource final : public LaneFeed {
 public:
  FromSource(PackSource& source, comm::Communicator& communicator, const TrainOptions& options)
      : source_(source), communicator_(communicator), options_(options) {
    options_.goes_on = [this](std::size_t lane) { return source_.goes_on(lane); };
  }

  std::vector<std::unique_ptr<Lane>> join(const PackTurn& turn) override {
    std::vector<std::unique_ptr<Lane>> lanes;
    for (const PackedRun& run : source_.join(turn)) {
      TrainOptions options = options_;
      options.until = run.until;
      options.check_inputs = [this, lane = next_](const auto& fingerprint) { source_.check_inputs(lane, fingerprint); };
      lanes.push_back(std::make_unique<Lane>(run.config, communicator_, options, next_++));
    }
    return lanes;
  }

  void ended(const Lane& lane) override { source_.ended(lane.number(), outcome_of(lane)); }

 private:
  PackSource& source_;
  comm::Communicator& communicator_;
  TrainOptions options_;
  std::size_t next_ = 0;
};

}  // namespace

TrainResult train(const RunConfig& config, comm::Communicator& communicator, const TrainOptions& options) {
  tensor::configure_process(config.run.threads);
  TogetherFromTheStart feed(std::span(&config, 1), communicator, options);
  run_lanes(feed);
  if (feed.first_error()) {
    std::rethrow_exception(feed.first_error());
  }
  return std::move(*feed.outcomes().front().result);
}

std::vector<LaneOutcome> train_pack(std::span<const RunConfig> configs, comm::Communicator& communicator,
                                    const TrainOptions& options) {
  require(!configs.empty(), Fault::kUsage, "a pack of no runs");
  tensor::configure_process(configs.front().run.threads);
  TogetherFromTheStart feed(configs, communicator, options);
  run_lanes(feed);
  return std::move(feed.outcomes());
}

void train_pack(PackSource& source, comm::Communicator& communicator, const TrainOptions& options) {
  FromSource feed(source, communicator, options);
  run_lanes(feed);
}

}  // namespace dormer::train
