// A library that is loaded before the C library (LD_PRELOAD) and counts the calls with which a process changes files
// below one folder. At the call that is asked for it ends the process or lets the call fail: the program under test
// carries nothing of this.
//
//   DORMER_SHIM_ROOT    absolute folder; calls elsewhere pass untouched and uncounted
//   DORMER_SHIM_LOG     file that gets a line for every counted call, before it is made
//   DORMER_SHIM_CALL    number of the call, from 1, at which something happens; 0 or absent: nothing does
//   DORMER_SHIM_ACTION  kill         SIGKILL instead of the call
//                       half         half of a write's bytes, then SIGKILL; of other calls kill
//                       fail:ERRNO   that call fails with this number
//                       full:ERRNO   that call and all later ones that need space do: opening new files, writing,
//                       making folders
//   DORMER_SHIM_NETWORK every path lies on NFS, as the system tells; reading a .safetensors by pread fails with this
//                       number, or not where it is 0
//
// A line of the log is `NUMBER CALL PATH`. Calls are those that change what another process would see: opening for
// writing, writing, truncating, syncing, renaming, linking, removing, making folders.

#include <atomic>
#include <cerrno>
#include <climits>
#include <csignal>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include <dlfcn.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <unistd.h>

namespace {

enum class Action { kNothing, kKill, kHalf, kFail, kFull };

struct Plan {
  std::string root;
  std::string log;
  long call = 0;
  Action action = Action::kNothing;
  int code = 0;
};

const char* variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

Plan read_plan() {
  Plan plan{variable("DORMER_SHIM_ROOT"), variable("DORMER_SHIM_LOG"), std::atol(variable("DORMER_SHIM_CALL"))};
  const std::string action = variable("DORMER_SHIM_ACTION");
  if (action == "kill") {
    plan.action = Action::kKill;
  } else if (action == "half") {
    plan.action = Action::kHalf;
  } else if (action.rfind("fail:", 0) == 0 || action.rfind("full:", 0) == 0) {
    plan.action = action[1] == 'a' ? Action::kFail : Action::kFull;
    plan.code = std::atoi(action.c_str() + 5);
  }
  return plan;
}

const Plan& plan() {
  static const Plan the_plan = read_plan();
  return the_plan;
}

std::atomic<long> g_calls{0};

template <typename Function>
Function* real(const char* name) {
  return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}

/// An absolute path of what a call names; empty where it names nothing that has one.
std::string absolute(int folder, const char* path) {
  if (path == nullptr || path[0] == '/') {
    return path == nullptr ? "" : path;
  }
  char base[PATH_MAX];
  if (folder == AT_FDCWD) {
    return getcwd(base, sizeof(base)) == nullptr ? "" : std::string(base) + "/" + path;
  }
  const std::string link = "/proc/self/fd/" + std::to_string(folder);
  const ssize_t size = readlink(link.c_str(), base, sizeof(base) - 1);
  return size < 0 ? "" : std::string(base, static_cast<std::size_t>(size)) + "/" + path;
}

std::string path_of(int file) {
  char path[PATH_MAX];
  const std::string link = "/proc/self/fd/" + std::to_string(file);
  const ssize_t size = readlink(link.c_str(), path, sizeof(path) - 1);
  return size < 0 ? "" : std::string(path, static_cast<std::size_t>(size));
}

bool is_watched(const std::string& path) {
  const std::string& root = plan().root;
  return !root.empty() && path.rfind(root, 0) == 0 && (path.size() == root.size() || path[root.size()] == '/');
}

void write_line(long number, const char* call, const std::string& path) {
  if (plan().log.empty()) {
    return;
  }
  static const int file = static_cast<int>(
      syscall(SYS_openat, AT_FDCWD, plan().log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644));
  const std::string line = std::to_string(number) + " " + call + " " + path + "\n";
  static_cast<void>(syscall(SYS_write, file, line.data(), line.size()));
}

enum class Verdict { kPass, kFail, kHalf };

[[noreturn]] void end_process() {
  kill(getpid(), SIGKILL);
  for (;;) {
    pause();
  }
}

/// Counts a call; does not return where the process ends there.
Verdict counted(const char* call, const std::string& path, bool needs_space) {
  if (!is_watched(path)) {
    return Verdict::kPass;
  }
  const long number = g_calls.fetch_add(1) + 1;
  write_line(number, call, path);
  if (plan().call == 0 || number < plan().call) {
    return Verdict::kPass;
  }
  if (number > plan().call && plan().action != Action::kFull) {
    return Verdict::kPass;
  }
  switch (plan().action) {
    case Action::kKill:
      end_process();
    case Action::kHalf:
      return Verdict::kHalf;
    case Action::kFail:
      errno = plan().code;
      return Verdict::kFail;
    case Action::kFull:
      errno = plan().code;
      return needs_space ? Verdict::kFail : Verdict::kPass;
    case Action::kNothing:
      break;
  }
  return Verdict::kPass;
}

/// For calls of which there is no half.
bool fails(const char* call, const std::string& path, bool needs_space = false) {
  const Verdict verdict = counted(call, path, needs_space);
  if (verdict == Verdict::kHalf) {
    end_process();
  }
  return verdict == Verdict::kFail;
}

/// A write of which half arrives before the process ends.
template <typename Half>
bool write_fails(const char* call, int file, const Half& half) {
  const Verdict verdict = counted(call, path_of(file), true);
  if (verdict == Verdict::kHalf) {
    half();
    end_process();
  }
  return verdict == Verdict::kFail;
}

bool changes(int flags) {
  return (flags & (O_CREAT | O_TRUNC)) != 0 || (flags & O_ACCMODE) != O_RDONLY;
}

mode_t mode_of(int flags, va_list arguments) {
  return (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(arguments, mode_t) : 0;
}

bool open_fails(int folder, const char* path, int flags) {
  return changes(flags) && fails("open", absolute(folder, path), (flags & O_CREAT) != 0);
}

int open_as(const char* name, const char* path, int flags, mode_t mode) {
  return open_fails(AT_FDCWD, path, flags) ? -1 : real<int(const char*, int, ...)>(name)(path, flags, mode);
}

FILE* fopen_as(const char* name, const char* path, const char* mode) {
  if (std::strpbrk(mode, "wa+") != nullptr && fails("open", absolute(AT_FDCWD, path), true)) {
    return nullptr;
  }
  return real<FILE*(const char*, const char*)>(name)(path, mode);
}

constexpr long kNfs = 0x6969;

template <typename Facts>
int statfs_as(const char* name, const char* path, Facts* facts) {
  const int code = real<int(const char*, Facts*)>(name)(path, facts);
  if (code == 0 && *variable("DORMER_SHIM_NETWORK") != '\0') {
    facts->f_type = kNfs;
  }
  return code;
}

ssize_t pread_as(const char* name, int file, void* bytes, size_t size, off_t offset) {
  const int code = std::atoi(variable("DORMER_SHIM_NETWORK"));
  if (code != 0 && path_of(file).ends_with(".safetensors")) {
    errno = code;
    return -1;
  }
  return real<ssize_t(int, void*, size_t, off_t)>(name)(file, bytes, size, offset);
}

}  // namespace

extern "C" {

int statfs(const char* path, struct statfs* facts) noexcept {
  return statfs_as("statfs", path, facts);
}

int statfs64(const char* path, struct statfs64* facts) noexcept {
  return statfs_as("statfs64", path, facts);
}

ssize_t pread(int file, void* bytes, size_t size, off_t offset) {
  return pread_as("pread", file, bytes, size, offset);
}

ssize_t pread64(int file, void* bytes, size_t size, off_t offset) {
  return pread_as("pread64", file, bytes, size, offset);
}

int open(const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = mode_of(flags, arguments);
  va_end(arguments);
  return open_as("open", path, flags, mode);
}

int open64(const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = mode_of(flags, arguments);
  va_end(arguments);
  return open_as("open64", path, flags, mode);
}

int openat(int folder, const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = mode_of(flags, arguments);
  va_end(arguments);
  return open_fails(folder, path, flags) ? -1
                                         : real<int(int, const char*, int, ...)>("openat")(folder, path, flags, mode);
}

FILE* fopen(const char* path, const char* mode) {
  return fopen_as("fopen", path, mode);
}

FILE* fopen64(const char* path, const char* mode) {
  return fopen_as("fopen64", path, mode);
}

ssize_t write(int file, const void* bytes, size_t size) {
  const auto call = real<ssize_t(int, const void*, size_t)>("write");
  return write_fails("write", file, [&] { call(file, bytes, size / 2); }) ? -1 : call(file, bytes, size);
}

ssize_t writev(int file, const iovec* pieces, int count) {
  const auto call = real<ssize_t(int, const iovec*, int)>("writev");
  return write_fails("writev", file, [&] { call(file, pieces, count / 2); }) ? -1 : call(file, pieces, count);
}

ssize_t pwrite(int file, const void* bytes, size_t size, off_t offset) {
  const auto call = real<ssize_t(int, const void*, size_t, off_t)>("pwrite");
  return write_fails("pwrite", file, [&] { call(file, bytes, size / 2, offset); }) ? -1
                                                                                   : call(file, bytes, size, offset);
}

int ftruncate(int file, off_t size) {
  return fails("ftruncate", path_of(file)) ? -1 : real<int(int, off_t)>("ftruncate")(file, size);
}

int truncate(const char* path, off_t size) {
  return fails("truncate", absolute(AT_FDCWD, path)) ? -1 : real<int(const char*, off_t)>("truncate")(path, size);
}

int fsync(int file) {
  return fails("fsync", path_of(file)) ? -1 : real<int(int)>("fsync")(file);
}

int fdatasync(int file) {
  return fails("fdatasync", path_of(file)) ? -1 : real<int(int)>("fdatasync")(file);
}

int rename(const char* from, const char* to) {
  return fails("rename", absolute(AT_FDCWD, to)) ? -1 : real<int(const char*, const char*)>("rename")(from, to);
}

int renameat(int from_folder, const char* from, int to_folder, const char* to) {
  return fails("rename", absolute(to_folder, to))
             ? -1
             : real<int(int, const char*, int, const char*)>("renameat")(from_folder, from, to_folder, to);
}

int unlink(const char* path) {
  return fails("unlink", absolute(AT_FDCWD, path)) ? -1 : real<int(const char*)>("unlink")(path);
}

int unlinkat(int folder, const char* path, int flags) {
  return fails("unlink", absolute(folder, path)) ? -1
                                                 : real<int(int, const char*, int)>("unlinkat")(folder, path, flags);
}

int remove(const char* path) {
  return fails("unlink", absolute(AT_FDCWD, path)) ? -1 : real<int(const char*)>("remove")(path);
}

int rmdir(const char* path) {
  return fails("rmdir", absolute(AT_FDCWD, path)) ? -1 : real<int(const char*)>("rmdir")(path);
}

int mkdir(const char* path, mode_t mode) {
  return fails("mkdir", absolute(AT_FDCWD, path), true) ? -1 : real<int(const char*, mode_t)>("mkdir")(path, mode);
}

int symlink(const char* target, const char* path) {
  return fails("symlink", absolute(AT_FDCWD, path), true)
             ? -1
             : real<int(const char*, const char*)>("symlink")(target, path);
}

long syscall(long number, ...) {
  va_list arguments;
  va_start(arguments, number);
  long words[6];
  for (long& word : words) {
    word = va_arg(arguments, long);
  }
  va_end(arguments);
  if (number == SYS_renameat2 &&
      fails("rename", absolute(static_cast<int>(words[2]), reinterpret_cast<const char*>(words[3])))) {
    return -1;
  }
  return real<long(long, ...)>("syscall")(number, words[0], words[1], words[2], words[3], words[4], words[5]);
}

}  // extern "C"
