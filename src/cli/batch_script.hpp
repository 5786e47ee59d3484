#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "dormer/config/visitor.hpp"

namespace dormer::cli {

/// What Slurm is asked for. Empty texts and zeros are not asked for.
struct JobRequest {
  std::string name;
  std::int64_t nodes = 1;
  std::int64_t ranks_per_node = 0;  ///< 0: as many as GPUs are asked for, or one
  std::int64_t cpus_per_rank = 1;
  std::string gpus_per_node;  ///< "4" or "a100:4"
  std::string gres;
  std::string memory;  ///< of a node
  std::string time;
  std::string account;
  std::string partition;
  std::string qos;
  std::string constraint;
  std::string reservation;
  std::string mail_user;
  std::string mail_type;
  std::string array;                 ///< "0-9%4"
  std::int64_t signal_seconds = 0;   ///< before the time limit; 0: train.sbatch's
  std::string requeue;               ///< yes | chain | no; empty: the site's
  std::string launcher;              ///< mpirun | srun; empty: the site's
  std::vector<std::string> options;  ///< of sbatch, as they are: "--exclusive"
};

/// What all jobs at one site have in common: cluster/sites/NAME.yaml.
struct Site {
  std::string account;
  std::string partition;
  std::string qos;
  std::string constraint;
  std::string reservation;
  std::vector<std::string> options;
  std::string launcher = "mpirun";
  std::vector<std::string> launcher_options;
  std::string mpi = "pmix";  ///< of srun
  std::vector<std::string> modules;
  std::vector<std::string> environment;  ///< NAME=VALUE
  std::string container;                 ///< words before the program
  std::string program;                   ///< empty: the one that submits
  std::string scratch;                   ///< TMPDIR of jobs, on every node
  std::string requeue = "yes";
  std::int64_t max_array_size = 1001;  ///< Slurm's MaxArraySize: the largest index and one
  void describe(config::Visitor& visitor);
};

/// Reads a site by its name (cluster/sites/NAME.yaml below the working directory) or by its file; an empty name is a
/// site of defaults. A usage error has a line for every mistake.
[[nodiscard]] Site load_site(const std::string& name);

/// The run that the job makes.
struct TrainLine {
  std::filesystem::path program;
  std::filesystem::path working_directory;
  std::filesystem::path output;        ///< of the job; Slurm's patterns count
  std::vector<std::string> arguments;  ///< of train.sbatch: [--sweep] CONFIG and options of the command
};

/// Mistakes that Slurm would find late or not at all, one text each; empty: none. Pure.
[[nodiscard]] std::vector<std::string> check(const JobRequest& request, const Site& site, const TrainLine& line);

/// The whole text of a batch script: `body`, which is cluster/slurm/train.sbatch, with what the request and the site
/// ask for in front. The request counts where both say something. Pure.
[[nodiscard]] std::string batch_script(const JobRequest& request, const Site& site, const TrainLine& line,
                                       std::string_view body);

/// The text of cluster/slurm/train.sbatch as it was when the program was built. Generated.
[[nodiscard]] std::string_view train_script();

}  // namespace dormer::cli
