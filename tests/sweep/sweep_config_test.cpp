#include "dormer/sweep/sweep_config.hpp"

#include <chrono>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include <gmock/gmock.h>

#include "dormer/config/write.hpp"
#include "dormer/core/error.hpp"
#include "support/temp_directory.hpp"

namespace dormer::sweep {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::StartsWith;

constexpr const char* kRun =
    "run: {directory: runs/a, steps: 100, seed: 7}\n"
    "model: {path: m}\n"
    "data: {train: t.h5, validation: v.h5}\n";

SweepConfig loaded(const std::string& text, const std::vector<std::string>& overrides = {}) {
  const test::TempDirectory directory;
  std::ofstream(directory.path() / "sweep.yaml") << text;
  return load_sweep_config(directory.path() / "sweep.yaml", overrides);
}

/// What loading ends with, without the folder's name: a line for each mistake.
std::string complaints(const std::string& text, const std::vector<std::string>& overrides = {}) {
  const test::TempDirectory directory;
  std::ofstream(directory.path() / "sweep.yaml") << text;
  try {
    static_cast<void>(load_sweep_config(directory.path() / "sweep.yaml", overrides));
  } catch (const Error& error) {
    EXPECT_EQ(error.exit_code(), 2) << error.what();
    std::string message = error.what();
    const std::string folder = directory.path().string() + "/";
    for (std::size_t at = message.find(folder); at != std::string::npos; at = message.find(folder)) {
      message.erase(at, folder.size());
    }
    return message;
  }
  return "accepted";
}

std::string with_sweep(const std::string& section) {
  return std::string(kRun) + section;
}

/// A sweep whose `space` is this, whose first line is line 5 of the file.
std::string with_space(const std::string& space) {
  return with_sweep("sweep: {trials: 4, space: {\n" + space + "\n}}\n");
}

TEST(SweepConfig, ReadsTheFileOfTheContract) {
  const SweepConfig config = loaded(with_sweep(R"(sweep:
  {method: random, trials: 64, seeds: 2, metric: validation_loss, goal: minimize, stopping: {kind: halving, minimum_steps: 20, factor: 4}, pack: auto, ranks_per_trial: 1, max_failed: 4,
   space: {optimizer.learning_rate: {log: [1.0e-5, 1.0e-3]}, adapter.rank: [8, 16, 32], adapter.alpha: 2*adapter.rank}}
)"));
  EXPECT_EQ(config.sweep.method, "random");
  EXPECT_EQ(config.sweep.trials, 64);
  EXPECT_EQ(config.sweep.seeds, 2);
  EXPECT_EQ(config.sweep.stopping.kind, "halving");
  EXPECT_EQ(config.sweep.stopping.minimum_steps, 20);
  EXPECT_EQ(config.sweep.stopping.factor, 4);
  EXPECT_EQ(config.sweep.pack_limit(), std::nullopt);
  EXPECT_EQ(config.sweep.max_failed, 4);
  EXPECT_EQ(config.sweep.budget_seconds(), std::nullopt);
  EXPECT_EQ(config.run.run.steps, 100);
  EXPECT_EQ(config.space.parameters().size(), 2U);
  EXPECT_EQ(point_count(config), 64);
}

TEST(SweepConfig, HasDefaults) {
  const SweepSection sweep = loaded(with_space("adapter.rank: [8]")).sweep;
  EXPECT_EQ(sweep.method, "random");
  EXPECT_EQ(sweep.seeds, 1);
  EXPECT_EQ(sweep.seed, 0);
  EXPECT_EQ(sweep.metric, "validation_loss");
  EXPECT_EQ(sweep.goal, "minimize");
  EXPECT_EQ(sweep.stopping.kind, "none");
  EXPECT_EQ(sweep.pack, "auto");
  EXPECT_EQ(sweep.max_failed, 4);
  EXPECT_EQ(sweep.lag, 8);
  EXPECT_EQ(sweep.keep, 1);
  EXPECT_EQ(sweep.evaluate, std::nullopt);
}

TEST(SweepConfig, CountsThePointsOfAGrid) {
  const std::string grid = "sweep: {method: grid, space: {adapter.rank: [8, 16, 32], batch.micro: [1, 2]}}\n";
  EXPECT_EQ(point_count(loaded(with_sweep(grid))), 6);
  EXPECT_EQ(point_count(loaded(with_sweep(grid), {"sweep.trials=4"})), 4);
  EXPECT_EQ(point_count(loaded(with_sweep(grid), {"sweep.trials=40"})), 6);
}

TEST(SweepConfig, ReadsBudgetsAndPacks) {
  const auto seconds = [](const std::string& text) {
    return loaded(with_space("adapter.rank: [8]"), {"sweep.budget=" + text}).sweep.budget_seconds();
  };
  EXPECT_EQ(seconds("40 gpu-hours"), 144000.0);
  EXPECT_EQ(seconds("90 min"), 5400.0);
  EXPECT_EQ(seconds("1.5h"), 5400.0);
  EXPECT_EQ(seconds("2 device-days"), 172800.0);
  EXPECT_EQ(loaded(with_space("adapter.rank: [8]"), {"sweep.pack=6"}).sweep.pack_limit(), 6);
}

TEST(SweepConfig, TakesOverridesOfTheSpaceWithTheirDots) {
  const SweepConfig config = loaded(with_space("adapter.rank: [8],\nadapter.dropout: [0.1]"),
                                    {"sweep.space.adapter.rank=[4, 32]", "sweep.space.adapter.dropout=null",
                                     "adapter.targets=attention", "sweep.trials=9"});
  EXPECT_THAT(config.space.description(), ElementsAre("adapter.rank: 4, 32"));
  EXPECT_THAT(config.run.adapter.targets, ElementsAre("attention"));
  EXPECT_EQ(config.sweep.trials, 9);
  EXPECT_EQ(complaints(with_space("adapter.rank: [8]"), {"sweep.space.adapter.rank=[x]"}),
            "--set sweep.space.adapter.rank=[x]: sweep.space.adapter.rank: 'x' is not a whole number");
}

struct Bad {
  std::string text;
  const char* message;  ///< the whole of it, or its beginning with … at the end
};

TEST(BadSweeps, AreRefusedWithTheLine) {
  const std::vector<Bad> cases{
      {kRun, "sweep.yaml: it has no group 'sweep'…"},
      {with_sweep("sweep: 3\n"), "sweep.yaml:4: sweep: '3' is not a map of keys…"},
      {with_sweep("sweep: {trials: 4}\n"), "sweep.yaml:4: sweep.space: is missing…"},
      {with_sweep("sweep: {trials: 4, space: [1]}\n"), "sweep.yaml:4: sweep.space: a list is not a map of paths…"},
      {with_sweep("sweep: {space: {adapter.rank: [8]}}\n"), "sweep.yaml:4: sweep.trials: is missing: how many points…"},
      {with_sweep("sweep: {trials: 4, seedz: 1, space: {adapter.rank: [8]}}\n"),
       "sweep.yaml:4: sweep.seedz: unknown key; did you mean 'seeds'?"},
      {with_sweep("sweep:\n  n_trials: 4\n  trials: 4\n  space: {adapter.rank: [8]}\n"),
       "sweep.yaml:5: sweep.n_trials: unknown key; write \"sweep: {trials: 4}\""},
      {with_sweep("sweep: {trials: 4, method: bohb, space: {adapter.rank: [8]}}\n"),
       "sweep.yaml:4: sweep.method: 'bohb' is not one of grid, random, quasi_random, tpe"},
      {with_sweep("sweep: {trials: 4, method: sobol, space: {adapter.rank: [8]}}\n"),
       "sweep.yaml:4: sweep.method: 'sobol' is not one of grid, random, quasi_random, tpe; write \"sweep: {method: "
       "quasi_random}\""},
      {with_sweep("sweep: {trials: -1, seeds: 0, lag: -1, ranks_per_trial: 0, max_failed: -1, keep: -1, space: "
                  "{adapter.rank: [8]}}\n"),
       "sweep.yaml:4: sweep.trials: must be at least 0, is -1\nsweep.yaml:4: sweep.seeds: must be between 1 and 65536, "
       "is 0\n"
       "sweep.yaml:4: sweep.ranks_per_trial: must be between 1 and 4096, is 0\nsweep.yaml:4: sweep.max_failed: must be "
       "at "
       "least 0, is -1\n"
       "sweep.yaml:4: sweep.lag: must be at least 0, is -1\nsweep.yaml:4: sweep.keep: must be at least 0, is -1"},
      {with_sweep("sweep: {trials: 4, pack: many, space: {adapter.rank: [8]}}\n"),
       "sweep.yaml:4: sweep.pack: 'many' is not auto or a whole number from 1 to 4096"},
      {with_sweep("sweep: {trials: 4, budget: 40, space: {adapter.rank: [8]}}\n"),
       "sweep.yaml:4: sweep.budget: '40' is no time of devices…"},
      {with_sweep("sweep: {trials: 4, budget: -1 h, space: {adapter.rank: [8]}}\n"),
       "sweep.yaml:4: sweep.budget: '-1 h' is no time of devices…"},
      {with_sweep("sweep: {trials: 4, stopping: {kind: asha}, space: {adapter.rank: [8]}}\n"),
       "sweep.yaml:4: sweep.stopping.minimum_steps: is missing: kind asha wants…"},
      {with_sweep("sweep: {trials: 4, stopping: {kind: patience}, space: {adapter.rank: [8]}}\n"),
       "sweep.yaml:4: sweep.stopping.patience: is missing…"},
      {with_sweep("sweep: {trials: 4, stopping: {kind: halving,\n  minimum_steps: 100}, space: {adapter.rank: [8]}}\n"),
       "sweep.yaml:5: sweep.stopping.minimum_steps: 100 is not below run.steps, 100…"},
      {with_sweep(
           "sweep: {method: grid,\n space: {adapter.rank: [8],\n optimizer.learning_rate: {log: [1e-5, 1e-3]}}}\n"),
       "sweep.yaml:6: sweep.space.optimizer.learning_rate: a grid takes so many values of a range; write steps: beside "
       "it"},
      {"run: {directory: runs/a, steps: 9}\nmodel: {path: m}\ndata: {train: t.h5}\nsweep: {trials: 4, space: "
       "{adapter.rank: [8]}}\n",
       "sweep.yaml:4: sweep.metric: validation_loss wants held-out data…"},
      // the run's own part, in one message with the rest
      {"run: {directory: runs/a, steps: 9}\nmodel: {pth: m}\ndata: {train: t.h5, validation: v.h5}\nsweep: {trials: "
       "no,\n space: {adapter.rank: []}}\n",
       "sweep.yaml:2: model.path: is missing: Folder of the frozen model in Hugging Face form, or org/name in the "
       "offline cache; of a diffusion model also a checkpoint in one .safetensors (then text.tokenizer is needed).\n"
       "sweep.yaml:2: model.pth: unknown key; did you mean 'path'?\nsweep.yaml:4: sweep.trials: 'no' is not a whole "
       "number\n"
       "sweep.yaml:5: sweep.space.adapter.rank: the list is empty; write the values to try"},
      // values that no run takes
      {with_space("adapter.rnk: [8, 16]"), "sweep.yaml:5: sweep.space.adapter.rnk: unknown key; did you mean 'rank'?"},
      {with_space("lr: [8, 16]"), "sweep.yaml:5: sweep.space.lr: unknown key; write \"optimizer: {learning_rate: 8}\""},
      {with_space("adapter.learning_rate: [1]"),
       "sweep.yaml:5: sweep.space.adapter.learning_rate: unknown key; it stands in another group…"},
      {with_space("sweep.trials: [1, 2]"), "sweep.yaml:5: sweep.space.sweep.trials: sweep: unknown key…"},
      {with_space("adapter.rank: [8,\n 16,\n 0,\n many]"),
       "sweep.yaml:7: sweep.space.adapter.rank: must be between 1 and 4096, is 0\nsweep.yaml:8: "
       "sweep.space.adapter.rank: 'many' is not a whole number"},
      {with_space("adapter.rank: {uniform: [8, 16.5]}"),
       "sweep.yaml:5: sweep.space.adapter.rank: '16.5' is not a whole number"},
      {with_space("optimizer.kind: [adamw, sgd]"), "sweep.yaml:5: sweep.space.optimizer.kind: 'sgd' is not one of…"},
      {with_space("adapter.kind: [lora, dora]"), "sweep.yaml:5: sweep.space.adapter.kind: 'dora' is not one of…"},
      {with_space("adapter.decompose: [null, {axes: output}]"),
       "sweep.yaml:5: sweep.space.adapter.decompose: adapter.decompose.axes: unknown key; did you mean 'axis'?"},
      {with_space("adapter.dropout: {uniform: [0, 2]}"), "sweep.yaml:5: sweep.space.adapter.dropout: must be…"},
      {with_space("adapter.rank: many"), "sweep.yaml:5: sweep.space.adapter.rank: 'many' is not a whole number"},
      {with_space("zip: [{adapter.rank: [8, x], optimizer.learning_rate: [1e-3, 1e-4]}]"),
       "sweep.yaml:5: sweep.space.zip.0: 'x' is not a whole number"},
      {with_space("adapter.rank: [8, 0],\nbatch.micro: adapter.rank/4,\nadapter.dropout: []"),
       "sweep.yaml:5: sweep.space.adapter.rank: must be between 1 and 4096, is 0\nsweep.yaml:7: "
       "sweep.space.adapter.dropout: the list is empty; write the values to try"},
      {with_space("adapter.rnk: [null]"), "sweep.yaml:5: sweep.space.adapter.rnk: unknown key; did you mean 'rank'?"},
      {with_space("adaptr.rank: [8, 9]"),
       "sweep.yaml:5: sweep.space.adaptr.rank: adaptr: unknown key; did you mean 'adapter'?"},
      {with_sweep("sweep:\n  trials: 4\n  space: {adapter.rank: [8]}\n  space: {}\n"),
       "sweep.yaml:7: sweep.space: stands here a second time"},
      {with_space("adapter.rank: [8],\nadapter.alfa: 2*adapter.rank"),
       "sweep.yaml:6: sweep.space.adapter.alfa: unknown key; did you mean 'alpha'?"},
      {with_space("run.directory: [a, b]"),
       "sweep.yaml:5: sweep.space.run.directory: run.directory is the sweep's to set, another for every trial"},
      {with_space("export.0.dtype: [float32]"), "sweep.yaml:5: sweep.space.export.0.dtype:…"},
      // values that no whole point takes
      {with_space("batch.micro: [1,\n 2,\n 3]"),
       "sweep.yaml:7: sweep.space.batch.micro: 3: no run can be made of any of 64 points that have it; the first: "
       "point {batch.micro: 3}: batch.micro: 3 does not divide batch.global, 8"},
      {with_space("adapter.rank: [8, 16],\nadapter.alpha: adapter.rank-adapter.rank"),
       "sweep.yaml:5: sweep.space: no run can be made of any of 64 points; the first: point {adapter.rank: …"},
  };
  for (const Bad& each : cases) {
    const std::string message = complaints(each.text);
    const std::string expected = each.message;
    if (expected.ends_with("…")) {
      EXPECT_THAT(message, StartsWith(expected.substr(0, expected.size() - std::string("…").size()))) << each.text;
    } else {
      EXPECT_EQ(message, expected) << each.text;
    }
  }
}

TEST(BadSweeps, ValuesThatAreRightBesideOthersPass) {
  EXPECT_EQ(complaints(with_space("batch.micro: [1, 3],\nbatch.global: [8, 12]")), "accepted")
      << "3 divides 12: the trials with 8 fail, as they may";
  EXPECT_EQ(complaints(with_space("adapter.decompose: [null, {axis: output}, {axis: input}]")), "accepted");
  EXPECT_EQ(complaints(with_space("adapter.targets: [attention, [q_proj, v_proj]]")), "accepted");
}

TEST(TrialConfig, AppliesThePointAndTheSeed) {
  const SweepConfig config =
      loaded(with_sweep("adapter: {rank: 4, decompose: {axis: input}, alpha: 3}\n"
                        "sweep: {trials: 4, space: {adapter.rank: [8, 16], adapter.decompose: [null, {axis: output}], "
                        "adapter.alpha: [null, 1], run.seed: [7, 100]}}\n"));
  EXPECT_EQ(config.run.adapter.rank, 4);
  const train::RunConfig first = trial_config(config, config.space.at(std::vector{1.0, 0.0, 0.0, 0.0}), 2);
  EXPECT_EQ(first.adapter.rank, 16);
  EXPECT_FALSE(first.adapter.decompose.has_value());
  EXPECT_TRUE(first.adapter.alpha.absent()) << "null takes the key away, so that its default counts";
  EXPECT_EQ(first.run.seed, 9);
  const train::RunConfig second = trial_config(config, config.space.at(std::vector{0.0, 1.0, 1.0, 1.0}), 0);
  EXPECT_EQ(second.adapter.decompose->axis, "output");
  EXPECT_EQ(second.adapter.alpha.text, "1");
  EXPECT_EQ(second.run.seed, 100);
  EXPECT_EQ(config::dump(trial_config(config, {}, 0)), config::dump(config.run)) << "no settings: the file as it is";
}

TEST(TrialConfig, IsWhatTheFileWithTheSettingsAsOverridesGives) {
  const test::TempDirectory directory;
  std::ofstream(directory.path() / "run.yaml") << kRun << "adapter: {decompose: {}}\nexport: [{for: comfyui}]\n";
  std::ofstream(directory.path() / "sweep.yaml") << kRun << "adapter: {decompose: {}}\nexport: [{for: comfyui}]\n"
                                                 << "sweep: {trials: 2, space: {adapter.rank: [8]}}\n";
  const SweepConfig sweep = load_sweep_config(directory.path() / "sweep.yaml", std::vector<std::string>{"run.steps=5"});
  const train::RunConfig run = train::load_run_config(
      directory.path() / "run.yaml", std::vector<std::string>{"run.steps=5", "adapter.rank=8", "run.seed=8"});
  EXPECT_EQ(config::dump(trial_config(sweep, {{"adapter.rank", "8"}}, 1)), config::dump(run));
  EXPECT_EQ(run.adapter.decompose->axis, "input") << "settled by the export";
}

TEST(TrialConfig, NamesThePointWhereNoRunCanBe) {
  const SweepConfig config = loaded(with_space("adapter.rank: [8]"));
  const auto message = [&](const Point& point) {
    try {
      static_cast<void>(trial_config(config, point, 0));
    } catch (const Error& error) {
      EXPECT_EQ(error.fault(), Fault::kUsage);
      return std::string(error.what());
    }
    return std::string("accepted");
  };
  EXPECT_EQ(message({{"adapter.rank", "8"}, {"batch.micro", "3"}}),
            "point {adapter.rank: 8, batch.micro: 3}: batch.micro: 3 does not divide batch.global, 8");
  EXPECT_EQ(message({{"adapter.rank", "0"}, {"adapter.kin", "lora"}}),
            "point {adapter.rank: 0, adapter.kin: lora}: adapter.rank: must be between 1 and 4096, is 0; adapter.kin: "
            "unknown key; did you mean 'kind'?");
  EXPECT_THAT(message({{"export.3.dtype", "float32"}}), StartsWith("point {export.3.dtype: float32}: "));
}

TEST(TrialConfig, CostsNoReadingOfTheFile) {
  const SweepConfig config = loaded(with_space("adapter.rank: [8, 16],\noptimizer.learning_rate: {log: [1e-5, 1e-3]}"));
  std::filesystem::remove(config.document.name);
  EXPECT_EQ(trial_config(config, {{"adapter.rank", "16"}}, 0).adapter.rank, 16);
}

TEST(Identity, IsOfWhatMakesItThisSweep) {
  const std::string text = with_sweep(
      "sweep: {trials: 4, method: tpe, space: {adapter.rank: [8, 16], optimizer.learning_rate: {log: [1e-5, "
      "1e-3]}}}\n");
  const std::string same = identity(loaded(text));
  EXPECT_EQ(same.size(), 64U);
  for (const std::string line : {"sweep.trials=40", "sweep.budget=2 h", "sweep.max_failed=null", "sweep.keep=3",
                                 "sweep.pack=4", "run.name=other", "run.directory=elsewhere", "run.time_limit=1 h",
                                 "validation.every=7", "checkpoint.every=3", "run.threads=2", "export=[{for: peft}]"}) {
    EXPECT_EQ(identity(loaded(text, {line})), same) << line;
  }
  for (const std::string line :
       {"sweep.method=random", "sweep.seeds=2", "sweep.seed=1", "sweep.metric=loss", "sweep.goal=maximize",
        "sweep.stopping={kind: asha, minimum_steps: 5}", "sweep.lag=0", "sweep.evaluate=measure", "run.steps=101",
        "run.seed=8", "adapter.targets=attention", "data.train=other.h5", "sweep.space.adapter.rank=[8, 32]",
        "sweep.space.adapter.rank=[16, 8]", "sweep.space.adapter.alpha=2*adapter.rank",
        "sweep.space.optimizer.learning_rate={log: [1e-5, 2e-3]}",
        "sweep.space.optimizer.learning_rate={uniform: [1e-5, 1e-3]}"}) {
    EXPECT_NE(identity(loaded(text, {line})), same) << line;
  }
}

TEST(Lag, LetsAPointSeeThoseFarEnoughBefore) {
  EXPECT_EQ(visible_before(0, 8), 0);
  EXPECT_EQ(visible_before(8, 8), 0);
  EXPECT_EQ(visible_before(9, 8), 1);
  EXPECT_EQ(visible_before(20, 8), 12);
  EXPECT_EQ(visible_before(20, 0), 20);
}

TEST(RunFiles, ThatDescribeASweepAreNoRuns) {
  const test::TempDirectory directory;
  const std::filesystem::path file = directory.path() / "sweep.yaml";
  std::ofstream(file) << with_space("adapter.rank: [0]");
  try {
    static_cast<void>(train::load_run_config(file));
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.exit_code(), 2);
    EXPECT_EQ(error.what(), file.string() + ":4: sweep: the file describes a sweep; start it with 'dormer sweep run " +
                                file.string() + "'");
  }
}

TEST(Documentation, OfTheConfigurationIsWhatTheProgramSays) {
  std::ifstream file(DORMER_SOURCE "/docs/configuration.md");
  const std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  EXPECT_TRUE(text == train::configuration_page() + configuration_section())
      << "write it again: dormer config reference > docs/configuration.md";
}

}  // namespace
}  // namespace dormer::sweep
