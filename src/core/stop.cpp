#include "dormer/core/stop.hpp"

#include <atomic>
#include <csignal>

#include <unistd.h>

namespace dormer {
namespace {

std::atomic<int> g_requests{0};  // a signal handler can reach nothing but a lock-free global
static_assert(std::atomic<int>::is_always_lock_free);

extern "C" void on_signal(int number) {
  // The third INT ends the program: a person at a terminal who presses it again means it.
  if (g_requests.fetch_add(1) >= 2 && number == SIGINT) {
    _exit(128 + number);
  }
}

}  // namespace

void install_stop_handlers() {
  struct sigaction action = {};
  action.sa_handler = on_signal;
  sigemptyset(&action.sa_mask);
  action.sa_flags = SA_RESTART;
  for (const int number : {SIGUSR1, SIGTERM, SIGINT}) {
    sigaction(number, &action, nullptr);
  }
  std::signal(SIGXFSZ, SIG_IGN);  // a file-size limit then is an error code (EFBIG), not a death
  std::signal(SIGPIPE, SIG_IGN);
}

bool stop_requested() noexcept {
  return g_requests.load() > 0;
}
void request_stop() noexcept {
  g_requests.fetch_add(1);
}
void clear_stop() noexcept {
  g_requests.store(0);
}

}  // namespace dormer
