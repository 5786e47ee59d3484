#include "train/stuck_launcher.hpp"

#include <algorithm>
#include <array>
#include <csignal>
#include <fstream>
#include <string>
#include <string_view>

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace dormer::train {
namespace {

bool is_launcher(pid_t process) {
  constexpr std::array<std::string_view, 4> kNames{"mpirun", "mpiexec", "orterun", "prterun"};
  std::ifstream file(fmt::format("/proc/{}/comm", process));
  std::string name;
  std::getline(file, name);
  return std::ranges::find(kNames, name) != kNames.end();
}

// In the child of a process with threads: nothing but system calls.
[[noreturn]] void wait_and_end(int launcher, int milliseconds) {
  ::setsid();
  ::close(STDIN_FILENO);  // the launcher waits for the end of what its ranks write
  ::close(STDOUT_FILENO);
  ::close(STDERR_FILENO);
  pollfd event{.fd = launcher, .events = POLLIN, .revents = 0};
  if (::poll(&event, 1, milliseconds) == 0) {
    ::syscall(SYS_pidfd_send_signal, launcher, SIGKILL, nullptr, 0);
  }
  ::_exit(0);
}

}  // namespace

void end_stuck_launcher(std::chrono::seconds patience) {
  const pid_t parent = ::getppid();
  if (!is_launcher(parent)) {
    return;
  }
  // Unlike its number, this means that very process for ever.
  const auto launcher = static_cast<int>(::syscall(SYS_pidfd_open, parent, 0));
  if (launcher < 0) {
    return;
  }
  const auto milliseconds = static_cast<int>(std::chrono::milliseconds(patience).count());
  if (::fork() == 0) {
    wait_and_end(launcher, milliseconds);
  }
  ::close(launcher);
}

}  // namespace dormer::train
