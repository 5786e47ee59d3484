#include "train/run_directory.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <system_error>
#include <thread>

#include <fcntl.h>
#include <unistd.h>

#include <fmt/format.h>

#include "dormer/core/atomic_file.hpp"
#include "dormer/core/error.hpp"
#include "dormer/core/host_name.hpp"
#include "dormer/core/log.hpp"
#include "dormer/core/stop.hpp"
#include "dormer/report/run_record.hpp"
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
  std::array<char, 32> time{};
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  gmtime_r(&now, &parts);
  std::strftime(time.data(), time.size(), "%Y-%m-%dT%H:%M:%SZ", &parts);
  const char* job = std::getenv("SLURM_JOB_ID");
  return fmt::format("host {}, process {}, since {}{}{}", host_name(), ::getpid(), time.data(),
                     job != nullptr ? ", Slurm job " : "", job != nullptr ? job : "");
}

std::string first_line(const std::string& text) {
  return text.substr(0, text.find('\n'));
}

std::string read_owner(int descriptor) {
  std::string text(512, '\0');
  const ssize_t count = ::pread(descriptor, text.data(), text.size(), 0);
  text.resize(count > 0 ? static_cast<std::size_t>(count) : 0);
  return text.empty() ? "an unknown process" : first_line(text);
}

// Those of the life before stay for whoever looks for the cause; a new life's must not mix with them.
void keep_hung_reports_apart(const std::filesystem::path& folder) {
  std::filesystem::path before = folder;
  before += ".before";
  std::error_code code;
  if (std::filesystem::exists(folder, code)) {
    std::filesystem::remove_all(before, code);
    std::filesystem::rename(folder, before, code);
  }
}

// What lives that were killed left half-written or half-removed.
void clean(const RunPaths& paths) {
  for (const std::filesystem::path& folder :
       {paths.root, paths.checkpoints(), paths.tensorboard(), paths.exports(), paths.traces()}) {
    remove_temporaries(folder);
  }
  keep_hung_reports_apart(paths.hung());
  try {
    storage::remove_leftovers(paths.checkpoints());
  } catch (const Error& error) {  // the next save says so again, and then it matters
    log::warn("{}", error.what());
  }
}

/// 0: the lock is ours.
int lock_error(int descriptor) {
  struct flock request = {};
  request.l_type = F_WRLCK;
  request.l_whence = SEEK_SET;
  return ::fcntl(descriptor, F_OFD_SETLK, &request) == 0 ? 0 : errno;
}

// A requeued job may begin while its former life is still being ended.
constexpr std::chrono::seconds kFormerLife{60};

bool is_former_life(const std::string& owner) {
  const char* job = std::getenv("SLURM_JOB_ID");
  return job != nullptr && owner.ends_with(fmt::format(", Slurm job {}", job));
}

}  // namespace

std::filesystem::path RunPaths::trace(long step) const {
  return traces() / fmt::format("update-{:09}.safetensors", step);
}

std::filesystem::path RunPaths::samples(long step) const {
  return root / report::Run::kSamplesFolder / fmt::format("step-{:09}", step);
}

void warn_of_little_space(const RunPaths& paths, std::int64_t bytes, std::int64_t copies) {
  std::error_code code;
  const std::filesystem::space_info space = std::filesystem::space(paths.root, code);
  const auto there = static_cast<std::int64_t>(storage::list_checkpoints(paths.checkpoints()).size());
  const std::int64_t needed = bytes * std::max<std::int64_t>(copies - there, 1);
  if (!code && space.available < static_cast<std::uintmax_t>(needed)) {
    constexpr double kMebibyte = 1024.0 * 1024.0;
    log::warn(
        "{} has {:.0f} MiB of free space, and its checkpoints will take {:.0f} MiB: saves will fail; free some, keep "
        "fewer (checkpoint.keep), or choose another run.directory",
        paths.root.string(), static_cast<double>(space.available) / kMebibyte, static_cast<double>(needed) / kMebibyte);
  }
}

RunLock::RunLock(const RunPaths& paths) : file_(paths.lock()), owner_(describe_owner()) {
  make_folder(paths.root);
  probe(paths.root);
  descriptor_ = ::open(file_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  require(descriptor_ >= 0, Fault::kIo, "cannot open {}: {}", file_.string(), std::strerror(errno));
  try {
    take();
    clean(paths);
  } catch (...) {
    ::close(descriptor_);
    throw;
  }
}

void RunLock::take() {
  const auto deadline = std::chrono::steady_clock::now() + kFormerLife;
  for (int code = lock_error(descriptor_); code != 0; code = lock_error(descriptor_)) {
    if (code != EAGAIN && code != EACCES) {
      log::warn("{} cannot be locked ({}): make sure that no other job uses this run directory", file_.string(),
                std::strerror(code));
      break;
    }
    const std::string owner = read_owner(descriptor_);
    if (!is_former_life(owner) || std::chrono::steady_clock::now() > deadline || stop_requested()) {
      fail(Fault::kInUse, "the run directory {} is in use by {}; wait for it, or choose another run.directory",
           file_.parent_path().string(), owner);
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
  }
  const std::string text = owner_ + '\n';
  require(::ftruncate(descriptor_, 0) == 0 &&
              ::pwrite(descriptor_, text.data(), text.size(), 0) == static_cast<ssize_t>(text.size()),
          Fault::kIo, "cannot write {}: {}", file_.string(), std::strerror(errno));
}

void RunLock::require_ownership() const {
  // By its name, not by the descriptor: where locks do not work the file may be another one by now.
  std::error_code code;
  if (!std::filesystem::exists(file_, code)) {
    return;  // removed by hand: nobody has taken anything
  }
  const std::string owner = first_line(read_file(file_, "lock of the run directory"));
  require(owner == owner_, Fault::kInUse, "the run directory {} was taken over by {}; this process leaves it as it is",
          file_.parent_path().string(), owner.empty() ? "an unknown process" : owner);
}

RunLock::~RunLock() {
  ::close(descriptor_);
}

}  // namespace dormer::train
