#include <filesystem>

#include "cli/batch_script.hpp"
#include "dormer/config/read.hpp"
#include "dormer/core/error.hpp"

namespace dormer::cli {

void Site::describe(config::Visitor& visitor) {
  visitor.field("account", account, {.doc = "Account of jobs that name none."});
  visitor.field("partition", partition, {.doc = "Partition of jobs that name none."});
  visitor.field("qos", qos, {.doc = "Quality of service of jobs that name none."});
  visitor.field("constraint", constraint, {.doc = "Features that nodes must have."});
  visitor.field("reservation", reservation, {.doc = "Reservation of jobs that name none."});
  visitor.field("options", options, {.doc = "More options of sbatch, each as it is written there."});
  visitor.field("launcher", launcher, {.doc = "What starts the ranks.", .choices = {"mpirun", "srun"}});
  visitor.field("launcher_options", launcher_options, {.doc = "More words for the launcher."});
  visitor.field("mpi", mpi, {.doc = "What srun --mpi is given."});
  visitor.field("modules", modules, {.doc = "Environment modules to load."});
  visitor.field("environment", environment, {.doc = "Variables, NAME=VALUE; $USER and others in a value count."});
  visitor.field("container", container, {.doc = "Words before the program: apptainer exec --nv dormer.sif."});
  visitor.field("program", program, {.doc = "The program on the nodes. Empty: the one that submits."});
  visitor.field("scratch", scratch, {.doc = "Folder for temporary files, made on every node: TMPDIR."});
  visitor.field("requeue", requeue,
                {.doc = "How a saved job goes on: back into the queue, by a successor, or by hand.",
                 .choices = {"yes", "chain", "no"}});
  visitor.field("max_array_size", max_array_size, {.doc = "Slurm's MaxArraySize.", .min = 1});
}

Site load_site(const std::string& name) {
  if (name.empty()) {
    return {};
  }
  const bool is_file = name.find('/') != std::string::npos || name.ends_with(".yaml");
  const std::filesystem::path file = is_file ? name : "cluster/sites/" + name + ".yaml";
  return config::load<Site>(config::Source::from_file(file));
}

}  // namespace dormer::cli
