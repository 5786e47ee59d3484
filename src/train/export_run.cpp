#include <numeric>
#include <optional>

#include "dormer/core/error.hpp"
#include "dormer/core/log.hpp"
#include "dormer/tensor/process.hpp"
#include "dormer/train/run.hpp"
#include "train/checkpointing.hpp"
#include "train/evaluation_point.hpp"
#include "train/exporting.hpp"
#include "train/preparation.hpp"

namespace dormer::train {

std::vector<std::filesystem::path> export_run(const RunConfig& config, comm::Communicator& communicator,
                                              const TrainOptions& options) {
  tensor::configure_process(config.run.threads);
  if (config.exports.empty()) {
    fail_together(Fault::kUsage, "export: the list is empty; write export: [{{for: peft}}]");
  }
  Preparation preparation(config, communicator, {.bare = options.bare, .pictures = false, .bases = options.bases});
  if (!preparation.resumed) {
    fail_together(Fault::kUsage, "{} holds no checkpoint to export; train first, or name the run.directory of a run",
                  preparation.paths.root.string());
  }
  preparation.load();
  const std::int64_t step = agree_on_exports(communicator, config, preparation.paths, preparation.state).step;
  std::optional<EvaluationPoint> evaluation;  // a checkpoint's parameters are there already
  if (step == preparation.state.step) {
    evaluation.emplace(*preparation.trial);
  } else {
    log::info("exporting step {}, the best by validation loss", step);
    restore_parameters(communicator, *checkpoint_of(preparation.paths, step), *preparation.trial);
  }
  std::vector<std::size_t> all(config.exports.size());
  std::iota(all.begin(), all.end(), std::size_t{0});
  write_exports(communicator,
                {.config = config,
                 .paths = preparation.paths,
                 .task = *preparation.task,
                 .trial = *preparation.trial,
                 .step = step},
                all);
  evaluation.reset();
  preparation.close();
  return export_folders(config, preparation.paths);
}

}  // namespace dormer::train
