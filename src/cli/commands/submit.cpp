#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fmt/ranges.h>
#include <CLI/CLI.hpp>

#include "cli/batch_script.hpp"
#include "cli/command.hpp"
#include "cli/config_options.hpp"
#include "dormer/core/atomic_file.hpp"
#include "dormer/core/error.hpp"

namespace dormer::cli::commands {
namespace {

struct Options {
  ConfigOptions config;
  JobRequest job;
  std::string site;
  std::string script;
  bool dry_run = false;
};

/// `ending` after the run directory's name: what belongs to the job lies beside the run.
std::filesystem::path beside(const std::filesystem::path& directory, const char* ending) {
  std::filesystem::path path = std::filesystem::absolute(directory).lexically_normal();
  if (!path.has_filename()) {
    path = path.parent_path();
  }
  path += ending;
  return path;
}

TrainLine train_line(const Options& options, const train::RunConfig& config) {
  TrainLine line{.program = std::filesystem::read_symlink("/proc/self/exe"),
                 .working_directory = std::filesystem::current_path(),
                 .output = beside(config.run.directory, options.job.array.empty() ? "-%j.log" : "-%A_%a.log"),
                 .arguments = {}};
  if (options.config.is_sweep()) {
    line.arguments.emplace_back("--sweep");
  }
  line.arguments.push_back(options.config.file);
  for (const std::string& change : options.config.overrides) {
    line.arguments.insert(line.arguments.end(), {"--set", change});
  }
  return line;
}

void submit_file(const std::filesystem::path& script) {
  std::string command = "sbatch";
  std::string file = script.string();
  char* const arguments[] = {command.data(), file.data(), nullptr};
  pid_t child = 0;
  const int code = posix_spawnp(&child, "sbatch", nullptr, nullptr, arguments, environ);
  require(code == 0, Fault::kUsage,
          "sbatch cannot be started ({}); submit {} where Slurm is, or look at it with --dry-run", std::strerror(code),
          file);
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  require(WIFEXITED(status) && WEXITSTATUS(status) == 0, Fault::kUsage,
          "sbatch did not take {}; its reason stands above", file);
}

int submit_run(Options options) {
  const train::RunConfig config = options.config.load_run_or_sweep();
  const Site site = load_site(options.site);
  JobRequest& job = options.job;
  job.name = job.name.empty() ? config.name() : job.name;
  job.cpus_per_rank = job.cpus_per_rank > 0 ? job.cpus_per_rank : config.run.threads;
  const TrainLine line = train_line(options, config);
  const std::vector<std::string> mistakes = check(job, site, line);
  require(mistakes.empty(), Fault::kUsage, "{}", fmt::join(mistakes, "\n"));
  const std::string text = batch_script(job, site, line, train_script());
  std::fputs(text.c_str(), stdout);
  std::fflush(stdout);
  if (options.dry_run) {
    return 0;
  }
  const std::filesystem::path script =
      options.script.empty() ? beside(config.run.directory, ".sbatch") : std::filesystem::path(options.script);
  // Slurm writes the log there, and says nothing where it cannot.
  std::error_code code;
  std::filesystem::create_directories(beside(config.run.directory, "").parent_path(), code);
  require(!code, Fault::kIo, "cannot make the folder of {}: {}", config.run.directory.string(), code.message());
  write_file_atomically(script, std::string_view(text));
  submit_file(script);
  return 0;
}

void add_text(CLI::App& app, const char* name, std::string& value, const char* purpose, const char* type) {
  app.add_option(name, value, purpose)->type_name(type);
}

void add_size_options(CLI::App& app, JobRequest& job) {
  job.cpus_per_rank = 0;
  app.add_option("--nodes", job.nodes, "Nodes.")->type_name("N")->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--ranks-per-node", job.ranks_per_node, "Ranks on each; without it one for each GPU, or one.")
      ->type_name("N")
      ->check(CLI::PositiveNumber);
  app.add_option("--cpus-per-rank", job.cpus_per_rank, "Cores of a rank; without it run.threads.")
      ->type_name("N")
      ->check(CLI::PositiveNumber);
  add_text(app, "--gpus-per-node", job.gpus_per_node, "GPUs of each node.", "[TYPE:]N");
  add_text(app, "--gres", job.gres, "Other resources of each node, and GPUs where a site wants them here.", "LIST");
  add_text(app, "--mem", job.memory, "Memory of each node: 64G; 0 is all.", "SIZE");
  add_text(app, "--time", job.time, "Time limit of one life: minutes, HH:MM:SS or DAYS-HH:MM:SS.", "TIME");
}

void add_place_options(CLI::App& app, JobRequest& job) {
  add_text(app, "--account", job.account, "Account that pays.", "NAME");
  add_text(app, "--partition", job.partition, "Partition, or several with commas.", "NAME");
  add_text(app, "--qos", job.qos, "Quality of service.", "NAME");
  add_text(app, "--constraint", job.constraint, "Features that nodes must have.", "LIST");
  add_text(app, "--reservation", job.reservation, "Reservation.", "NAME");
  add_text(app, "--mail-user", job.mail_user, "Who gets mail.", "ADDRESS");
  add_text(app, "--mail-type", job.mail_type, "When: END,FAIL.", "LIST");
  add_text(app, "--name", job.name, "Name of the job; without it the run's.", "NAME");
  app.add_option("--sbatch", job.options, "One more option of sbatch as it is: --sbatch=--exclusive. May stand often.")
      ->allow_extra_args(false)
      ->type_name("OPTION");
}

void add_life_options(CLI::App& app, JobRequest& job) {
  add_text(app, "--array", job.array, "One run for each index, which is %a in CONFIG and --set; of a sweep one worker.",
           "INDICES");
  app.add_option("--signal", job.signal_seconds, "Seconds before the time limit at which the run saves (180).")
      ->type_name("SECONDS")
      ->check(CLI::PositiveNumber);
  app.add_option("--requeue", job.requeue, "How a saved job goes on: yes, chain (by a successor) or no.")
      ->check(CLI::IsMember({"yes", "chain", "no"}));
  app.add_option("--launcher", job.launcher, "mpirun or srun.")->check(CLI::IsMember({"mpirun", "srun"}));
}

Action declare(CLI::App& app) {
  const auto options = std::make_shared<Options>();
  add_config_options(app, options->config);
  add_size_options(app, options->job);
  add_place_options(app, options->job);
  add_life_options(app, options->job);
  add_text(app, "--site", options->site, "What this site's jobs have in common: cluster/sites/NAME.yaml, or a file.",
           "NAME");
  add_text(app, "--script", options->script, "File of the script; without it beside the run directory.", "FILE");
  app.add_flag("--dry-run", options->dry_run, "Only show the script.");
  return [options] { return submit_run(*options); };
}

}  // namespace

Command submit() {
  return {"submit", "Writes a Slurm job for a run or a sweep, shows it and submits it.",
          "dormer submit mine.yaml --nodes 2 --gpus-per-node 4 --time 04:00:00 --dry-run\n"
          "  dormer submit mine.yaml --site example --ranks-per-node 8 --time 1-00:00:00 --set run.steps=5000\n"
          "  dormer submit sweep.yaml --array 0-15 --gpus-per-node 1 --time 08:00:00",
          declare};
}

}  // namespace dormer::cli::commands
