#include <fstream>
#include <string>
#include <vector>

#include <gmock/gmock.h>

#include "dormer/core/error.hpp"
#include "dormer/sweep/sweep_config.hpp"
#include "support/temp_directory.hpp"

namespace dormer::sweep {
namespace {

using testing::ElementsAre;
using testing::EndsWith;
using testing::HasSubstr;

constexpr const char* kRun =
    "run: {directory: runs/a, steps: 100}\nmodel: {path: m}\ndata: {train: t.h5, validation: v.h5}\nsweep:\n";

SweepConfig loaded(const std::string& section) {
  const test::TempDirectory directory;
  std::ofstream(directory.path() / "sweep.yaml") << kRun << section;
  return load_sweep_config(directory.path() / "sweep.yaml");
}

TEST(Wandb, SweepFilesAreRead) {
  const SweepConfig config = loaded(R"(
  method: bayes
  metric: {name: validation_loss, goal: minimize}
  run_cap: 30
  early_terminate: {type: hyperband, min_iter: 3, eta: 2}
  parameters:
    adapter.rank: {values: [8, 16]}
    optimizer.learning_rate: {distribution: log_uniform_values, min: 1.0e-5, max: 1.0e-3}
    optimizer.weight_decay: {min: 0.0, max: 0.1}
    optimizer.epsilon: {distribution: log_uniform, min: -18, max: -16}
    batch: {parameters: {micro: {min: 1, max: 8}}}
    adapter.dropout: {distribution: q_uniform, min: 0, max: 0.3, q: 0.1}
    adapter.alpha: {value: 16}
    batch.global: {distribution: int_uniform, min: 40, max: 48}
)");
  EXPECT_EQ(config.sweep.method, "tpe");
  EXPECT_EQ(config.sweep.metric, "validation_loss");
  EXPECT_EQ(config.sweep.goal, "minimize");
  EXPECT_EQ(config.sweep.trials, 30);
  EXPECT_EQ(config.sweep.stopping.kind, "asha");
  EXPECT_EQ(config.sweep.stopping.minimum_steps, 3);
  EXPECT_EQ(config.sweep.stopping.factor, 2);
  EXPECT_THAT(config.space.description(),
              ElementsAre("adapter.rank: 8, 16", "optimizer.learning_rate: 1e-05 to 0.001, logarithmic",
                          "optimizer.weight_decay: 0 to 0.1",
                          "optimizer.epsilon: 1.522997974471263e-08 to 1.1253517471925912e-07, logarithmic",
                          "batch.micro: whole, 1 to 8", "adapter.dropout: 0 to 0.3, in steps of 0.1",
                          "adapter.alpha: always 16", "batch.global: whole, 40 to 48"));
}

TEST(Wandb, FactorOfHyperbandIsItsDefaultThere) {
  EXPECT_EQ(loaded("  trials: 3\n  early_terminate: {type: hyperband, min_iter: 3}\n  parameters: {adapter.rank: "
                   "{values: [8]}}\n")
                .sweep.stopping.factor,
            3);
}

TEST(Wandb, WhatHasNoEqualIsRefusedByName) {
  const std::vector<std::pair<const char*, const char*>> cases{
      {"adapter.rank: {distribution: normal, mu: 1, sigma: 1}",
       ":6: sweep.parameters.adapter.rank: mu has no equal here; every value is as likely, every range has ends"},
      {"adapter.rank: {distribution: log_normal}",
       ":6: sweep.parameters.adapter.rank: distribution log_normal has no equal here; write uniform, "
       "log_uniform_values, int_uniform or values"},
      {"adapter.rank: {distribution: inv_log_uniform_values, min: 1, max: 2}",
       "distribution inv_log_uniform_values has no equal here; write uniform, log_uniform_values, int_uniform or "
       "values"},
      {"adapter.rank: {values: [1, 2], probabilities: [0.1, 0.9]}",
       "probabilities has no equal here; every value is as likely, every range has ends"},
      {"adapter.rank: {valeus: [1]}",
       ":6: sweep.parameters.adapter.rank: unknown key 'valeus'; did you mean 'values'?"},
      {"adapter.rank: {min: 1}", "says nothing to try; write values, value, or min and max"},
      {"adapter.rank: {distribution: uniform, min: 1}", "uniform wants min and max, two numbers"},
      {"adapter.rank: {distribution: categorical}", "categorical wants values"},
      {"adapter.dropout: {distribution: q_uniform, min: 0.05, max: 0.3, q: 0.1}",
       "min, 0.05, is no multiple of q; write {uniform: [min, max], step: q} with the lowest value that is meant"},
      {"adapter.rank: {values: []}", ":6: sweep.parameters.adapter.rank: the list is empty; write the values to try"},
      {"adapter.rnk: {values: [8]}", ":6: sweep.parameters.adapter.rnk: unknown key; did you mean 'rank'?"},
  };
  for (const auto& [parameter, message] : cases) {
    try {
      static_cast<void>(loaded(std::string("  trials: 3\n  parameters: {") + parameter + "}\n"));
      ADD_FAILURE() << "accepted: " << parameter;
    } catch (const Error& error) {
      EXPECT_EQ(error.exit_code(), 2);
      EXPECT_THAT(error.what(), EndsWith(message)) << parameter;
    }
  }
}

TEST(Wandb, KeysBesideOurOwnAreRefused) {
  const auto message = [](const std::string& section) {
    try {
      static_cast<void>(loaded(section));
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string("accepted");
  };
  const std::string space = "  space: {adapter.rank: [8]}\n";
  EXPECT_THAT(message("  trials: 3\n  parameters: {adapter.rank: {values: [8]}}\n" + space),
              EndsWith(":6: sweep.parameters: says the same as space; write one of them"));
  EXPECT_THAT(message("  trials: 3\n  run_cap: 4\n" + space),
              EndsWith(":6: sweep.run_cap: says the same as trials; write one of them"));
  EXPECT_THAT(message("  trials: 3\n  metric: {name: loss, target: 2}\n" + space),
              EndsWith(":6: sweep.metric.target: has no equal here; write name and goal"));
  EXPECT_THAT(message("  trials: 3\n  metric: {name: eval/loss}\n" + space),
              EndsWith(":6: sweep.metric: 'eval/loss' is not one of validation_loss, loss"));
  EXPECT_THAT(message("  trials: 3\n  early_terminate: {type: hyperband, max_iter: 27, s: 2}\n" + space),
              HasSubstr(":6: sweep.early_terminate.max_iter: has no equal here; write min_iter (updates that every "
                        "trial gets) and eta\n"));
  EXPECT_THAT(message("  trials: 3\n  early_terminate: {type: envelope}\n" + space),
              HasSubstr(":6: sweep.early_terminate: type 'envelope' is not known here; write hyperband"));
  EXPECT_THAT(message("  trials: 3\n  program: train.py\n" + space),
              EndsWith(":6: sweep.program: unknown key; leave it out; there is nothing to set"));
}

}  // namespace
}  // namespace dormer::sweep
