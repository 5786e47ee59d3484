#include <algorithm>
#include <charconv>
#include <optional>
#include <string_view>

#include <unistd.h>

#include "dormer/comm/world.hpp"
#include "dormer/core/error.hpp"

namespace dormer::comm {
namespace {

std::optional<std::int64_t> number_in(const Environment& environment, const std::string& name) {
  const auto found = environment.find(name);
  if (found == environment.end()) {
    return std::nullopt;
  }
  const std::string& text = found->second;
  std::int64_t value = 0;
  const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), value);
  require(status == std::errc() && end == text.data() + text.size() && value >= 0, Fault::kUsage,
          "the launcher's variable {} is '{}', which is no number of ranks; unset it or start with mpirun or srun",
          name, text);
  return value;
}

Launch launch_of(std::string launcher, std::int64_t size) {
  // One process needs no MPI; an unknown size (0) must ask it.
  return {.uses_mpi = size != 1, .expected_size = size, .launcher = std::move(launcher)};
}

/// Ranks of the Slurm step that this process belongs to. The allocation's SLURM_NTASKS also stands in batch scripts and
/// interactive shells, which are one process: only a step's own variables count.
std::optional<std::int64_t> slurm_step_size(const Environment& environment) {
  if (const auto tasks = number_in(environment, "SLURM_STEP_NUM_TASKS")) {
    return tasks;
  }
  if (environment.contains("SLURM_STEP_ID") || environment.contains("SLURM_STEPID")) {
    return number_in(environment, "SLURM_NTASKS");
  }
  return std::nullopt;
}

/// Whether something is there that tells a task of a step who its peers are: PMI in one of its forms, or the library
/// with which Intel's MPI asks Slurm by itself.
bool has_rendezvous(const Environment& environment) {
  return std::ranges::any_of(environment, [](const auto& variable) {
    return variable.first.starts_with("PMI") || variable.first == "I_MPI_PMI_LIBRARY";
  });
}

/// A step that srun started for a command. The batch script itself has no step, and the shell of an interactive
/// allocation has one of Slurm's reserved numbers.
bool is_in_step(const Environment& environment) {
  constexpr std::int64_t kFirstReserved = 0xFFFF'FFF0;
  for (const char* name : {"SLURM_STEP_ID", "SLURM_STEPID"}) {
    if (const auto step = number_in(environment, name)) {
      return *step < kFirstReserved;
    }
  }
  return false;
}

}  // namespace

Launch detect_launch(const Environment& environment) {
  if (const auto size = number_in(environment, "OMPI_COMM_WORLD_SIZE")) {
    return launch_of("mpirun", *size);
  }
  if (const auto size = number_in(environment, "PMI_SIZE")) {
    return launch_of("a PMI launcher", *size);
  }
  const auto step_size = slurm_step_size(environment);
  if (environment.contains("PMIX_RANK") || environment.contains("PMI_RANK")) {
    return launch_of(step_size ? "srun" : "a PMIx launcher", step_size.value_or(0));
  }
  if (step_size && *step_size > 1) {
    require(has_rendezvous(environment), Fault::kUsage,
            "srun started {} tasks without PMIx, so that each would be alone; start them with srun --mpi=pmix (srun "
            "--mpi=list names what this Slurm has), or with mpirun in a batch script",
            *step_size);
    return launch_of("srun", *step_size);
  }
  return {};
}

void refuse_lone_rank(const Environment& environment) {
  if (!environment.contains("SLURM_JOB_ID") || is_in_step(environment) ||
      !detect_launch(environment).launcher.empty()) {
    return;
  }
  const std::int64_t tasks = number_in(environment, "SLURM_NTASKS").value_or(1);
  require(tasks <= 1, Fault::kUsage,
          "this Slurm job has {} tasks, but no launcher started the ranks: one would work alone; start with mpirun or "
          "srun --mpi=pmix, or set SLURM_NTASKS=1 where one rank is meant",
          tasks);
}

Environment current_environment() {
  Environment result;
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    const std::string_view text(*entry);
    const std::size_t equals = text.find('=');
    if (equals != std::string_view::npos) {
      result.emplace(text.substr(0, equals), text.substr(equals + 1));
    }
  }
  return result;
}

}  // namespace dormer::comm
