#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "dormer/report/sweep_page.hpp"
#include "dormer/sweep/goal.hpp"
#include "dormer/sweep/importance.hpp"
#include "dormer/sweep/trial_record.hpp"

namespace dormer::sweep {

/// What a report tells of one trial besides its record.
struct TrialFacts {
  std::int64_t number = 0;
  std::string command;                      ///< that repeats it; empty: unknown
  std::optional<std::int64_t> parameters;   ///< that its adapter trains; its file has four bytes of each
  std::vector<report::SampleImage> images;  ///< that it made
};

/// What a report tells of the sweep besides its trials.
struct ReportFacts {
  std::string name;
  std::string state;  ///< how the sweep stands, one line
  std::string metric;
  Goal goal = Goal::kMinimize;
  std::int64_t total_steps = 0;     ///< updates of a whole trial; 0: unknown
  std::vector<std::int64_t> rungs;  ///< steps, ascending
  std::vector<ParameterFacts> parameters;
  std::vector<std::pair<std::string, std::string>> facts;   ///< versions, seeds: a name and what it is
  std::vector<std::pair<std::string, std::string>> config;  ///< what all trials have in common
  std::vector<report::WorkerSpan> timeline;                 ///< empty: unknown
};

/// The sweep as report::sweep_page reads it: standings, importances, rungs and fronts computed, trials by number.
/// `trial_facts` may lack trials and be in any order. Pure.
[[nodiscard]] report::SweepRecord sweep_record(std::span<const TrialRecord> trials,
                                               std::span<const TrialFacts> trial_facts, const ReportFacts& facts);

}  // namespace dormer::sweep
