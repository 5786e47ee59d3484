// What a loop writes for people and other programs: pictures and exports.
#include <filesystem>
#include <optional>

#include "dormer/core/error.hpp"
#include "dormer/core/log.hpp"
#include "dormer/core/stop.hpp"
#include "train/agreement.hpp"
#include "train/checkpointing.hpp"
#include "train/evaluation_point.hpp"
#include "train/exporting.hpp"
#include "train/loop.hpp"

namespace dormer::train {

// Before the checkpoint of their update: a life that is killed among them comes here again.
void Loop::make_pictures() {
  const std::int64_t count = run_.task->pictures();
  if (count == 0 || (options_.bare && !state_.finished)) {
    return;
  }
  run_.enter(Heartbeat::Phase::kStep, "making pictures");
  facts_.last_samples = facts_.now;
  const std::filesystem::path folder = run_.paths.samples(static_cast<long>(state_.step));
  bool complete = true;
  const std::optional<Failure> failure = caught([&] {
    const EvaluationPoint evaluation(*run_.trial);
    agree(run_.communicator, [&] {
      std::error_code code;
      std::filesystem::create_directories(folder, code);
      require(!code, Fault::kIo, "cannot make {}: {}", folder.string(), code.message());
      for (std::int64_t index = run_.communicator.rank(); index < count && complete;
           index += run_.communicator.size()) {
        complete =
            run_.task->write_picture(index, run_.trial->adapters(), folder / fmt::format("{:04}.png", index), [this] {
              run_.progress();
              run_.faults.reach("picture", state_.step);
              return !stop_requested();
            });
      }
    });
  });
  if (failure) {
    log::warn_together("no pictures of step {} ({}); training goes on", state_.step, failure->message);
  } else if (on_any_rank(run_.communicator, !complete)) {
    log::info("step {}: asked to stop while pictures were made; some are left out", state_.step);
  } else {
    log::info("step {}: pictures in {}", state_.step, folder.string());
  }
}

ExportRequest Loop::export_request(std::int64_t step) const {
  return {run_.config, run_.paths, *run_.task, *run_.trial, step};
}

// One that fails on the way does not stop training; the one at the end does, as an error.
void Loop::export_now(const std::vector<std::size_t>& indices) {
  if (indices.empty()) {
    return;
  }
  run_.enter(Heartbeat::Phase::kIo, "exporting");
  const std::optional<Failure> failure = caught([&] {
    const EvaluationPoint evaluation(*run_.trial);
    write_exports(run_.communicator, export_request(state_.step), indices);
  });
  if (failure) {
    log::warn_together("step {} was not exported ({}); training goes on", state_.step, failure->message);
  }
  for (const std::size_t index : indices) {
    facts_.last_exports[index] = facts_.now;
  }
}

// The best parameters where they are kept, the last ones otherwise; only what is not there yet.
void Loop::export_at_end() {
  run_.enter(Heartbeat::Phase::kIo, "exporting");
  run_.faults.reach("export", state_.step);
  const ExportPlan plan = agree_on_exports(run_.communicator, run_.config, run_.paths, state_);
  if (plan.missing.empty()) {
    return;
  }
  std::optional<EvaluationPoint> evaluation;  // a checkpoint's parameters are there already
  if (plan.step == state_.step) {
    evaluation.emplace(*run_.trial);
  } else {
    log::info("exporting step {}, the best by validation loss", plan.step);
    restore_parameters(run_.communicator, *checkpoint_of(run_.paths, plan.step), *run_.trial);
  }
  write_exports(run_.communicator, export_request(plan.step), plan.missing);
}

}  // namespace dormer::train
