#include "train/stuck_launcher.hpp"

#include <algorithm>
#include <array>
#include <csignal>
#include <fstream>
#include <string>
#include <string_view>

#include <fcntl.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
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

// What follows runs in the child of a process with threads: nothing but system calls.

// A launcher's files have small numbers; one of thousands of hosts has thousands.
constexpr int kMostFiles = 16384;
constexpr int kMillisecondsToEnd = 10'000;

bool leads_to_another_host(int socket) {
  sockaddr_storage peer{};
  socklen_t size = sizeof peer;
  if (::getpeername(socket, reinterpret_cast<sockaddr*>(&peer), &size) != 0) {
    return false;
  }
  if (peer.ss_family == AF_INET) {
    constexpr unsigned kLoopback = 127;
    return ntohl(reinterpret_cast<const sockaddr_in&>(peer).sin_addr.s_addr) >> 24U != kLoopback;
  }
  return peer.ss_family == AF_INET6 && !IN6_IS_ADDR_LOOPBACK(&reinterpret_cast<const sockaddr_in6&>(peer).sin6_addr);
}

/// Lets the launcher see the end of its connections to other hosts: it takes its daemons there for lost, and ends with
/// the exit code that it has kept. Takes the right to trace it, which Yama may refuse.
void cut_connections(int launcher) {
  for (int number = 0; number < kMostFiles; ++number) {
    const auto socket = static_cast<int>(::syscall(SYS_pidfd_getfd, launcher, number, 0));
    if (socket >= 0) {
      if (leads_to_another_host(socket)) {
        ::shutdown(socket, SHUT_RDWR);
      }
      ::close(socket);
    }
  }
}

bool has_ended(int launcher, int milliseconds) {
  pollfd event{.fd = launcher, .events = POLLIN, .revents = 0};
  return ::poll(&event, 1, milliseconds) != 0;
}

[[noreturn]] void wait_and_end(int launcher, int milliseconds) {
  ::setsid();
  ::close(STDIN_FILENO);  // the launcher waits for the end of what its ranks write
  ::close(STDOUT_FILENO);
  ::close(STDERR_FILENO);
  if (!has_ended(launcher, milliseconds)) {
    cut_connections(launcher);
    if (!has_ended(launcher, kMillisecondsToEnd)) {
      ::syscall(SYS_pidfd_send_signal, launcher, SIGKILL, nullptr, 0);
    }
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
