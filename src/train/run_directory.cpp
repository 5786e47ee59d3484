#include "train/run_directory.hpp"

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <system_error>

#include <fcntl.h>
#include <unistd.h>

#include <fmt/format.h>

#include "dormer/core/atomic_file.hpp"
#include "dormer/core/error.hpp"
#include "dormer/core/log.hpp"
#include "dormer/storage/checkpoint.hpp"

namespace dormer::train {
namespace {

void make_folder(const std::filesystem::path& folder) {
  std::error_code code;
  std::filesystem::create_directories(folder, code);
  require(!code && std::filesystem::is_directory(folder), Fault::kIo,
          "cannot make the run directory {}: {}; choose another run.directory", folder.string(),
          code ? code.message() : "there is a file of this name");
}

// Root ignores mode bits and some mounts refuse only at the rename, so every kind of operation of a run is tried.
void probe(const std::filesystem::path& folder) {
  const std::filesystem::path file = folder / fmt::format(".probe-{}", ::getpid());
  try {
    write_file_atomically(file, std::string_view("probe\n"));
  } catch (const Error& error) {
    fail(Fault::kIo, "the run directory {} cannot be written ({}); choose another run.directory", folder.string(),
         error.what());
  }
  require(::unlink(file.c_str()) == 0, Fault::kIo,
          "files in the run directory {} cannot be removed: {}; choose another run.directory", folder.string(),
          std::strerror(errno));
}

std::string describe_owner() {
  std::array<char, 256> host{};
  ::gethostname(host.data(), host.size() - 1);
  std::array<char, 32> time{};
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  gmtime_r(&now, &parts);
  std::strftime(time.data(), time.size(), "%Y-%m-%dT%H:%M:%SZ", &parts);
  const char* job = std::getenv("SLURM_JOB_ID");
  return fmt::format("host {}, process {}, since {}{}{}", host.data(), ::getpid(), time.data(),
                     job != nullptr ? ", Slurm job " : "", job != nullptr ? job : "");
}

std::string read_owner(int descriptor) {
  std::string text(512, '\0');
  const ssize_t count = ::pread(descriptor, text.data(), text.size(), 0);
  text.resize(count > 0 ? static_cast<std::size_t>(count) : 0);
  text.erase(text.find_last_not_of('\n') + 1);
  return text.empty() ? "an unknown process" : text;
}

}  // namespace

std::filesystem::path RunPaths::trace(long step) const {
  return traces() / fmt::format("update-{:09}.safetensors", step);
}

RunLock::RunLock(const RunPaths& paths) {
  make_folder(paths.root);
  probe(paths.root);
  descriptor_ = ::open(paths.lock().c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  require(descriptor_ >= 0, Fault::kIo, "cannot open {}: {}", paths.lock().string(), std::strerror(errno));
  struct flock request = {};
  request.l_type = F_WRLCK;
  request.l_whence = SEEK_SET;
  if (::fcntl(descriptor_, F_OFD_SETLK, &request) != 0) {
    const int code = errno;
    if (code == EAGAIN || code == EACCES) {
      const std::string owner = read_owner(descriptor_);
      ::close(descriptor_);
      fail(Fault::kInUse, "the run directory {} is in use by {}; wait for it, or choose another run.directory",
           paths.root.string(), owner);
    }
    log::warn("{} cannot be locked ({}): make sure that no other job uses this run directory", paths.lock().string(),
              std::strerror(code));
  }
  const std::string owner = describe_owner() + '\n';
  if (::ftruncate(descriptor_, 0) != 0 ||
      ::pwrite(descriptor_, owner.data(), owner.size(), 0) != static_cast<ssize_t>(owner.size())) {
    const int code = errno;
    ::close(descriptor_);
    fail(Fault::kIo, "cannot write {}: {}", paths.lock().string(), std::strerror(code));
  }
  for (const std::filesystem::path& folder :
       {paths.root, paths.checkpoints(), paths.tensorboard(), paths.exports(), paths.traces()}) {
    remove_temporaries(folder);
  }
  try {
    storage::remove_leftovers(paths.checkpoints());
  } catch (const Error& error) {  // the next save says so again, and then it matters
    log::warn("{}", error.what());
  }
}

RunLock::~RunLock() {
  ::close(descriptor_);
}

}  // namespace dormer::train
