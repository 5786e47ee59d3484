#include "storage/computed_apart.hpp"

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <iterator>
#include <string_view>
#include <utility>

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "dormer/core/error.hpp"

namespace dormer::storage {
namespace {

/// The child: writes the result and ends, without anything that this process would do at its end.
[[noreturn]] void produce_into(int pipe, const std::function<std::string()>& produce, unsigned milliseconds) {
  for (const int number : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGPROF}) {
    std::signal(number, SIG_DFL);  // launchers' handlers would tell a long story of it
  }
  const struct rlimit none = {0, 0};
  ::setrlimit(RLIMIT_CORE, &none);
  const struct itimerval time = {
      // waiting for a slow disk does not count
      .it_interval = {0, 0},
      .it_value = {milliseconds / 1'000, static_cast<suseconds_t>(milliseconds % 1'000) * 1'000}};
  ::setitimer(ITIMER_PROF, &time, nullptr);
  int code = 1;
  try {
    const std::string result = produce();
    std::string_view rest = result;
    while (!rest.empty()) {
      const ssize_t written = ::write(pipe, rest.data(), rest.size());
      if (written <= 0) {
        ::_exit(1);
      }
      rest.remove_prefix(static_cast<std::size_t>(written));
    }
    code = 0;
  } catch (...) {  // the code says it
  }
  ::_exit(code);
}

/// All that the child writes until it ends.
std::string read_to_end(int pipe) {
  std::string result;
  std::array<char, 4'096> piece{};
  for (;;) {
    const ssize_t count = ::read(pipe, piece.data(), piece.size());
    if (count > 0) {
      result.append(piece.data(), static_cast<std::size_t>(count));
    } else if (count == 0 || errno != EINTR) {
      return result;
    }
  }
}

/// AddressSanitizer of GCC 12 does not bring its own locks over a fork: what another thread held of them at that moment
/// the child waits for without end. It tells of a crash in this process better than a child could.
bool waits_for_sanitizer() {
#ifdef __SANITIZE_ADDRESS__
  const std::filesystem::directory_iterator threads("/proc/self/task");
  return std::distance(begin(threads), end(threads)) > 1;
#else
  return false;
#endif
}

}  // namespace

std::optional<std::string> computed_apart(const std::function<std::string()>& produce, unsigned milliseconds) {
  if (waits_for_sanitizer()) {
    return produce();
  }
  std::array<int, 2> ends{};
  require(::pipe2(ends.data(), O_CLOEXEC) == 0, Fault::kIo, "cannot make a pipe: {}", std::strerror(errno));
  const pid_t child = ::fork();
  if (child == 0) {
    ::close(ends[0]);
    produce_into(ends[1], produce, milliseconds);
  }
  const int code = errno;
  ::close(ends[1]);
  if (child < 0) {
    ::close(ends[0]);
    fail(Fault::kIo, "cannot start a process: {}", std::strerror(code));
  }
  std::string result = read_to_end(ends[0]);
  ::close(ends[0]);
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? std::optional(std::move(result)) : std::nullopt;
}

}  // namespace dormer::storage
