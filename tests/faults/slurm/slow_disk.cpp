// A library that is loaded before the C library (LD_PRELOAD) and makes a run last without work: a line of metrics.jsonl
// takes DORMER_SLOW_MILLISECONDS, as on a very slow disk, and a rank that waits for another one sleeps where MPI would
// give its core away for a moment and ask again (mpi_yield_when_idle). So many jobs share two cores.
#include <array>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <string_view>

#include <dlfcn.h>
#include <unistd.h>

namespace {

constexpr long kMicrosecond = 1'000;  // in nanoseconds
constexpr long kMillisecond = 1'000 * kMicrosecond;
constexpr long kWait = 200 * kMicrosecond;

// Less than a second. A signal may cut it short: the run then is only a little faster.
void pass_time(long nanoseconds) {
  const std::timespec time{.tv_sec = 0, .tv_nsec = nanoseconds};
  ::nanosleep(&time, nullptr);
}

long line_time() {
  const char* milliseconds = std::getenv("DORMER_SLOW_MILLISECONDS");
  return milliseconds == nullptr ? 0 : std::atol(milliseconds) * kMillisecond;
}

bool is_metrics(int descriptor) {
  std::array<char, 32> link{};
  std::array<char, 4096> path{};
  std::snprintf(link.data(), link.size(), "/proc/self/fd/%d", descriptor);
  const ssize_t length = ::readlink(link.data(), path.data(), path.size());
  return length > 0 && std::string_view(path.data(), static_cast<std::size_t>(length)).ends_with("/metrics.jsonl");
}

}  // namespace

extern "C" ssize_t write(int descriptor, const void* bytes, std::size_t count) {
  static const auto real = reinterpret_cast<ssize_t (*)(int, const void*, std::size_t)>(dlsym(RTLD_NEXT, "write"));
  if (is_metrics(descriptor)) {
    pass_time(line_time());
  }
  return real(descriptor, bytes, count);
}

extern "C" int sched_yield() noexcept {
  pass_time(kWait);
  return 0;
}
