#include "train/run_report.hpp"

#include <utility>

#include "dormer/adapter/weight_change.hpp"
#include "dormer/config/write.hpp"
#include "dormer/core/atomic_file.hpp"
#include "dormer/core/error.hpp"
#include "dormer/core/log.hpp"
#include "dormer/report/report.hpp"
#include "train/agreement.hpp"

namespace dormer::train {
namespace {

std::vector<report::LayerChange> measured_layers(const Preparation& run) {
  std::vector<report::LayerChange> layers;
  for (adapter::WeightChange& change : adapter::measure_weight_changes(run.trial->adapters(), run.task->layers())) {
    layers.push_back({std::move(change.site), change.magnitude, change.direction});
  }
  return layers;
}

}  // namespace

RunReport::RunReport(const Preparation& prepared, bool silent) : run_(prepared), silent_(silent) {
  record_.name = run_.config.name();
  record_.total_steps = run_.state.total_steps;
  for (const auto& [key, value] : config::flatten(run_.config)) {
    record_.config.emplace_back(key, value);
  }
  record_.facts.emplace_back("ranks", fmt::format("{}", run_.communicator.size()));
  for (std::size_t rank = 0; rank < run_.introductions.size(); ++rank) {
    record_.facts.emplace_back(fmt::format("rank {}", rank), run_.introductions[rank]);
  }
  record_.facts.emplace_back("parameters", fmt::format("{}", run_.trial->parameter_count()));
  for (const char* name : {"build", "model", "data.train", "data.validation"}) {
    record_.facts.emplace_back(name, run_.state.fingerprint.at(name));
  }
  for (const std::string& since : run_.state.inexact_since) {
    record_.facts.emplace_back("not bit-identical since", since);
  }
}

void RunReport::begin() {
  record_.state = "running, or ended without a word";
  write(/*page=*/false);
}

void RunReport::measure_layers() {
  if (run_.communicator.rank() == 0) {
    record_.layers = measured_layers(run_);
  }
}

void RunReport::end(Outcome outcome) {
  const bool finished = outcome == Outcome::kFinished;
  record_.state = finished ? "finished" : "saved, to be started again";
  record_.exit_code = finished ? 0 : static_cast<int>(Fault::kRequeue);
  write(/*page=*/true);
}

void RunReport::failed(int exit_code, const std::string& message) {
  record_.state = fmt::format("failed: {}", message);
  record_.exit_code = exit_code;
  write(/*page=*/true);
}

void RunReport::write(bool page) {
  if (silent_ || run_.communicator.rank() != 0) {
    return;
  }
  record_.step = run_.state.step;
  const std::optional<Failure> failure = caught([&] {
    write_file_atomically(run_.paths.root / report::RunRecord::kFileName, std::string_view(report::to_text(record_)));
    if (page) {
      write_file_atomically(run_.paths.report(), std::string_view(report::run_page(report::read_run(run_.paths.root),
                                                                                   report::plotly_bundle())));
      log::info("report: {}", run_.paths.report().string());
    }
  });
  if (failure) {
    log::warn("the report of {} was not written: {}", run_.paths.root.string(), failure->message);
  }
}

}  // namespace dormer::train
