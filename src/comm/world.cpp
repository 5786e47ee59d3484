#include "dormer/comm/world.hpp"

#include <filesystem>
#include <string_view>

#include <dlfcn.h>

#include "dormer/comm/mpi_module.hpp"
#include "dormer/comm/single.hpp"
#include "dormer/core/error.hpp"

namespace dormer::comm {
namespace {

std::string last_loader_error() {
  const char* text = dlerror();
  return text != nullptr ? text : "no reason given";
}

/// The module lies beside the library that holds this function.
std::filesystem::path module_path(const Environment& environment) {
  if (const auto named = environment.find("DORMER_MPI_MODULE"); named != environment.end()) {
    return named->second;
  }
  Dl_info info{};
  const bool known = dladdr(reinterpret_cast<const void*>(&mpi_build_id), &info) != 0 && info.dli_fname != nullptr;
  invariant(known, "the dynamic loader does not know where libdormer.so is");
  std::error_code ignored;
  std::filesystem::path library = std::filesystem::canonical(info.dli_fname, ignored);
  return (ignored ? std::filesystem::path(info.dli_fname) : library).parent_path() / "libdormer_mpi.so";
}

std::string started_by(const Launch& launch) {
  return launch.expected_size == 0 ? fmt::format("{} started this process", launch.launcher)
                                   : fmt::format("{} started {} ranks", launch.launcher, launch.expected_size);
}

const MpiModule& load_module(const std::filesystem::path& path, const Launch& launch) {
  std::error_code ignored;
  require(std::filesystem::exists(path, ignored), Fault::kUsage,
          "{}, but there is no MPI module {}: build it (cluster/rebuild_mpi.sh does with the MPI of this machine), "
          "name it in DORMER_MPI_MODULE, or start one process without a launcher",
          started_by(launch), path.string());
  // RTLD_GLOBAL: Open MPI opens plugins of its own that look for its symbols in the global scope. Never closed: MPI
  // leaves threads and exit handlers behind.
  void* handle = dlopen(path.c_str(), RTLD_NOW | RTLD_GLOBAL);
  require(handle != nullptr, Fault::kUsage,
          "the MPI module {} cannot be loaded ({}); build it again with the MPI of this machine", path.string(),
          handle == nullptr ? last_loader_error() : "");
  void* symbol = dlsym(handle, kMpiModuleSymbol);
  require(symbol != nullptr, Fault::kUsage,
          "{} is no MPI module of dormer ({}); name the right one in DORMER_MPI_MODULE", path.string(),
          symbol == nullptr ? last_loader_error() : "");
  const MpiModule* module = reinterpret_cast<MpiModuleFunction>(symbol)();
  require(std::string_view(module->build_id) == mpi_build_id(), Fault::kUsage,
          "the MPI module {} is of build {}, this program of build {}; build both from the same source", path.string(),
          module->build_id, mpi_build_id());
  return *module;
}

}  // namespace

const char* mpi_build_id() {
  return DORMER_MPI_BUILD_ID;
}

std::unique_ptr<Communicator> make_world(const MpiOptions& options) {
  const Environment environment = current_environment();
  const Launch launch = detect_launch(environment);
  if (!launch.uses_mpi) {
    return single();
  }
  const std::filesystem::path path = module_path(environment);
  const MpiModule& module = load_module(path, launch);
  std::unique_ptr<Communicator> world = module.create(options);
  require(launch.expected_size == 0 || launch.expected_size == world->size(), Fault::kUsage,
          "{}, but MPI knows of {}: the launcher belongs to another MPI than {}; use the mpirun of that MPI, or srun "
          "--mpi=pmix, or start one process without a launcher",
          started_by(launch), world->size(), path.string());
  return world;
}

}  // namespace dormer::comm
