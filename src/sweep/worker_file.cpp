#include "sweep/worker_file.hpp"

#include <array>
#include <chrono>
#include <fstream>
#include <iterator>
#include <limits>
#include <optional>
#include <sstream>
#include <vector>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "dormer/core/atomic_file.hpp"
#include "dormer/core/error.hpp"
#include "dormer/core/host_name.hpp"

namespace dormer::sweep {
namespace {

constexpr std::chrono::seconds kBeat{20};
constexpr double kGone = 120.0;  // seconds

std::string link_target(const char* path) {
  std::array<char, 256> text{};
  const ssize_t length = ::readlink(path, text.data(), text.size() - 1);
  return length > 0 ? std::string(text.data(), static_cast<std::size_t>(length)) : "unknown";
}

std::string first_word(const char* path) {
  std::ifstream stream(path);
  std::string word;
  stream >> word;
  return word.empty() ? "unknown" : word;
}

/// What process numbers of this machine mean something in: its boot and namespace.
std::string process_space() {
  return first_word("/proc/sys/kernel/random/boot_id") + " " + link_target("/proc/self/ns/pid");
}

/// Clock ticks from boot to when a process began (field 22 of /proc/PID/stat); nothing where there is no such process,
/// or only its shell that nobody has waited for.
std::optional<std::string> start_of(long process) {
  std::ifstream stream(fmt::format("/proc/{}/stat", process));
  std::string text{std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
  const std::size_t name_end = text.rfind(')');
  if (name_end == std::string::npos) {
    return std::nullopt;
  }
  std::istringstream fields(text.substr(name_end + 1));
  std::vector<std::string> words{std::istream_iterator<std::string>(fields), {}};
  constexpr std::size_t kState = 0;
  constexpr std::size_t kStart = 19;  // after the name: field 3 is the first
  if (words.size() <= kStart || words[kState] == "Z" || words[kState] == "X") {
    return std::nullopt;
  }
  return words[kStart];
}

double modification_time(const std::filesystem::path& file) {
  struct stat status = {};
  if (::stat(file.c_str(), &status) != 0) {
    return -std::numeric_limits<double>::infinity();
  }
  return static_cast<double>(status.st_mtim.tv_sec) + 1e-9 * static_cast<double>(status.st_mtim.tv_nsec);
}

/// The file system's own time: a server's clock may differ from this machine's.
double file_system_now(const std::filesystem::path& folder) {
  const std::filesystem::path probe = folder / fmt::format(".probe-{}", ::getpid());
  const int descriptor = ::open(probe.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (descriptor < 0) {
    return -std::numeric_limits<double>::infinity();  // a folder that only others write: nobody is gone then
  }
  static_cast<void>(::write(descriptor, "x", 1) == 1);
  ::close(descriptor);
  const double now = modification_time(probe);
  ::unlink(probe.c_str());
  return now;
}

}  // namespace

WorkerFile::WorkerFile(const std::filesystem::path& folder) {
  const long process = ::getpid();
  name_ = fmt::format("{}-{}-{}", host_name(), process, start_of(process).value_or("0"));
  file_ = folder / name_;
  write_file_atomically(file_, std::string_view(process_space() + "\n"));
  thread_ = std::thread([this] {
    std::unique_lock lock(mutex_);
    while (!wake_.wait_for(lock, kBeat, [this] { return ends_; })) {
      touch();
    }
  });
}

WorkerFile::~WorkerFile() {
  {
    const std::scoped_lock lock(mutex_);
    ends_ = true;
  }
  wake_.notify_all();
  thread_.join();
  ::unlink(file_.c_str());
}

void WorkerFile::touch() const {
  ::utimensat(AT_FDCWD, file_.c_str(), nullptr, 0);
}

double silent_seconds(const std::filesystem::path& folder, const std::string& worker) {
  return file_system_now(folder) - modification_time(folder / worker);
}

bool is_gone(const std::filesystem::path& folder, const std::string& worker) {
  std::ifstream stream(folder / worker);
  std::string space;
  if (!std::getline(stream, space)) {
    return true;  // it ended in order, or never was here
  }
  const std::size_t second = worker.rfind('-');
  const std::size_t first = second == std::string::npos ? second : worker.rfind('-', second - 1);
  if (space == process_space() && first != std::string::npos) {
    const std::optional<std::string> start = start_of(std::atol(worker.substr(first + 1, second - first - 1).c_str()));
    return start != worker.substr(second + 1);
  }
  return silent_seconds(folder, worker) > kGone;
}

}  // namespace dormer::sweep
