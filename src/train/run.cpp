#include "dormer/train/run.hpp"

#include <cstddef>
#include <string>
#include <vector>

#include "dormer/comm/gather.hpp"
#include "dormer/core/error.hpp"
#include "dormer/core/log.hpp"
#include "dormer/tensor/memory.hpp"
#include "dormer/tensor/process.hpp"
#include "train/loop.hpp"
#include "train/preparation.hpp"
#include "train/run_report.hpp"

namespace dormer::train {
namespace {

// What `dormer plan` is measured by.
void tell_memory(comm::Communicator& communicator) {
  const std::vector<std::string> ranks =
      comm::gather_texts(communicator, fmt::format("{} bytes of tensors at most, {} bytes resident at most",
                                                   tensor::memory_use().peak, tensor::peak_resident_bytes()));
  for (std::size_t rank = 0; rank < ranks.size(); ++rank) {
    log::info("memory of rank {}: {}", rank, ranks[rank]);
  }
}

}  // namespace

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
    preparation.enter(Heartbeat::Phase::kIo, "ending");
    preparation.faults.reach("end", preparation.state.step);
    preparation.close();
    report.end(result.outcome);
    tell_memory(communicator);
    return result;
  } catch (const Error& error) {
    report.failed(error.exit_code(), error.what());
    throw;
  }
}

}  // namespace dormer::train
