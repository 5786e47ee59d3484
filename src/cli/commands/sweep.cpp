#include <memory>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "cli/command.hpp"
#include "cli/sweep_actions.hpp"

namespace dormer::cli::commands {
namespace {

/// Everything that any of the words below takes.
struct Options {
  ConfigOptions sweep;
  std::size_t shown = 10;
  bool quiet = false;
  bool measure = false;
  std::vector<std::string> consumers;
  std::vector<std::string> settings;
  bool csv = false;
  std::string output;
  std::string worker = "outside";
  Answer answer;
};

struct Word {
  CLI::App* app;
  Action action;
};

CLI::App* add_word(CLI::App& app, Options& options, const char* name, const char* purpose, const char* example) {
  CLI::App* word = app.add_subcommand(name, purpose);
  add_config_options(*word, options.sweep, "The sweep's YAML file.");
  word->footer(std::string("Example:\n  ") + example);
  return word;
}

void add_trial(CLI::App& word, Options& options) {
  word.add_option("TRIAL", options.answer.trial, "The trial's number.")->required();
}

std::vector<Word> add_work(CLI::App& app, const std::shared_ptr<Options>& options) {
  CLI::App* plan = add_word(app, *options, "plan", "Tells what a sweep would do, before anything runs.",
                            "dormer sweep plan configs/compare_adapters.yaml");
  plan->add_option("--points", options->shown, "Points to show.")->capture_default_str();
  plan->add_flag("--measure", options->measure, "Time some updates of the first trial, and tell device-hours by them.");
  CLI::App* run = add_word(app, *options, "run", "Runs a sweep, or goes on with one; the same line joins others at it.",
                           "dormer sweep run configs/compare_adapters.yaml\n"
                           "  mpirun -np 8 dormer sweep run configs/compare_adapters.yaml");
  run->add_flag("--quiet", options->quiet, "Only warnings and errors.");
  CLI::App* ask = add_word(app, *options, "ask", "Claims a trial for another program and prints it as JSON.",
                           "dormer sweep ask mine.yaml --worker node7");
  ask->add_option("--worker", options->worker, "A name for who asks.")->capture_default_str();
  CLI::App* tell = add_word(app, *options, "tell", "Says what became of a trial that was asked for.",
                            "dormer sweep tell mine.yaml 3 --attempt 1 --step 40 --value 2.31");
  add_trial(*tell, *options);
  tell->add_option("--attempt", options->answer.attempt, "As ask printed it.")->required();
  tell->add_option("--step", options->answer.step, "Updates done.");
  tell->add_option("--value", options->answer.value, "The metric after them.");
  tell->add_option("--seconds", options->answer.seconds, "Of training, all lives of the trial together.");
  tell->add_flag("--finished", options->answer.finished, "It trains no further, though updates are left.");
  tell->add_option("--failed", options->answer.failed, "It cannot go on, and why.");
  return {{plan, [options] { return sweep_plan(options->sweep, options->shown, options->measure); }},
          {run, [options] { return sweep_run(options->sweep, options->quiet); }},
          {ask, [options] { return sweep_ask(options->sweep, options->worker); }},
          {tell, [options] { return sweep_tell(options->sweep, options->answer); }}};
}

std::vector<Word> add_results(CLI::App& app, const std::shared_ptr<Options>& options) {
  CLI::App* status = add_word(app, *options, "status", "Shows how a sweep stands.", "dormer sweep status mine.yaml");
  status->add_option("--best", options->shown, "Points to show.")->capture_default_str();
  CLI::App* best = add_word(app, *options, "best", "Exports the best trial's adapter.",
                            "dormer sweep best mine.yaml --for peft --for comfyui");
  best->add_option("--for", options->consumers, "Program that shall read it; without it the file's exports.")
      ->allow_extra_args(false)
      ->type_name("PROGRAM");
  CLI::App* stop = add_word(app, *options, "stop", "Stops a trial.", "dormer sweep stop mine.yaml 12");
  add_trial(*stop, *options);
  CLI::App* table = add_word(app, *options, "export", "Writes all trials as a table.",
                             "dormer sweep export mine.yaml --csv --output trials.csv");
  table->add_flag("--csv", options->csv, "Comma-separated values; without it JSON.");
  table->add_flag("--json{false}", options->csv, "JSON (the default).");
  table->add_option("--output", options->output, "The file; without it the terminal.");
  CLI::App* report = add_word(app, *options, "report", "Writes report.html, one page with all plots.",
                              "dormer sweep report mine.yaml");
  CLI::App* clone = add_word(app, *options, "clone", "Adds a trial like another one, with other settings.",
                             "dormer sweep clone mine.yaml 12 --with optimizer.learning_rate=3e-4");
  add_trial(*clone, *options);
  clone->add_option("--with", options->settings, "A setting of the new trial. May stand many times.")
      ->allow_extra_args(false)
      ->type_name("KEY=VALUE");
  CLI::App* add = add_word(app, *options, "add", "Adds a trial of these settings, such as another program proposes.",
                           "dormer sweep add mine.yaml --with optimizer.learning_rate=3e-4 --with adapter.rank=8");
  add->add_option("--with", options->settings, "A value of the space. May stand many times.")
      ->allow_extra_args(false)
      ->type_name("KEY=VALUE");
  return {{status, [options] { return sweep_status(options->sweep, options->shown); }},
          {best, [options] { return sweep_best(options->sweep, options->consumers); }},
          {stop, [options] { return sweep_stop(options->sweep, options->answer.trial); }},
          {table, [options] { return sweep_export(options->sweep, options->csv, options->output); }},
          {report, [options] { return sweep_report(options->sweep); }},
          {add, [options] { return sweep_add(options->sweep, options->settings); }},
          {clone, [options] { return sweep_clone(options->sweep, options->answer.trial, options->settings); }}};
}

Action declare(CLI::App& app) {
  const auto options = std::make_shared<Options>();
  app.require_subcommand(1);
  std::vector<Word> words = add_work(app, options);
  for (Word& word : add_results(app, options)) {
    words.push_back(std::move(word));
  }
  return [words] {
    for (const Word& word : words) {
      if (word.app->parsed()) {
        return word.action();
      }
    }
    return 0;
  };
}

}  // namespace

Command sweep() {
  return {"sweep", "Searches hyperparameters: many trials on one frozen model, early stopping, one report.",
          "dormer sweep run configs/compare_adapters.yaml\n  dormer sweep status configs/compare_adapters.yaml",
          declare};
}

}  // namespace dormer::cli::commands
