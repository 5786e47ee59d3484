#include "dormer/train/watchdog.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <system_error>

#include <execinfo.h>
#include <fcntl.h>
#include <unistd.h>

#include "dormer/comm/gather.hpp"
#include "dormer/core/atomic_file.hpp"
#include "dormer/core/error.hpp"
#include "dormer/core/host_name.hpp"
#include "dormer/core/log.hpp"
#include "train/agreement.hpp"
#include "train/hung_report.hpp"
#include "train/run_directory.hpp"
#include "train/stuck_launcher.hpp"

namespace dormer::train {
namespace {

using std::chrono::duration;
using std::chrono::milliseconds;

constexpr double kLeastStep = 600.0;
constexpr double kStall = 45.0 * 60.0;
constexpr double kUsualUpdates = 10.0;
// For all of the report, whatever the file system does.
constexpr std::chrono::seconds kLongestReport{15};
// A launcher that reaches all its hosts ends a job within a few seconds.
constexpr std::chrono::seconds kLauncherPatience{20};

// Written by the reporter, read by the handler: a signal handler can reach nothing but a lock-free global.
std::atomic<int> g_stack_file{-1};
static_assert(std::atomic<int>::is_always_lock_free);

extern "C" void write_stack(int /*number*/) {
  const int file = g_stack_file.exchange(-1);
  if (file >= 0) {
    std::array<void*, 64> frames{};
    backtrace_symbols_fd(frames.data(), backtrace(frames.data(), static_cast<int>(frames.size())), file);
    ::close(file);
  }
}

// The default for SIGURG is to ignore it, so one that comes late harms nobody.
constexpr int kStackSignal = SIGURG;

void install_stack_handler() {
  std::array<void*, 1> frame{};
  backtrace(frame.data(), 1);  // its first call loads a library, which a handler must not
  struct sigaction action = {};
  action.sa_handler = write_stack;
  sigemptyset(&action.sa_mask);
  action.sa_flags = SA_RESTART;
  sigaction(kStackSignal, &action, nullptr);
}

/// How long the ranks wait for each other's reports: they notice at about the same time.
milliseconds grace_of(double deadline) {
  return milliseconds(static_cast<std::int64_t>(1000.0 * std::clamp(deadline / 10.0, 1.0, 5.0)));
}

std::filesystem::path file_of(const std::filesystem::path& folder, int rank, const char* ending) {
  return folder / fmt::format("rank-{:05d}{}", rank, ending);
}

std::vector<HungRank> read_reports(const std::filesystem::path& folder, std::size_t ranks) {
  std::vector<HungRank> reports;
  for (std::size_t rank = 0; rank < ranks; ++rank) {
    static_cast<void>(caught([&] {  // who did not write one is silent
      if (auto one = parse_hung_rank(read_file(file_of(folder, static_cast<int>(rank), ".json"), "report"))) {
        reports.push_back(*std::move(one));
      }
    }));
  }
  return reports;
}

}  // namespace

std::optional<double> deadline_of(const WatchdogSection& section, const Heartbeat::State& state) {
  switch (state.phase) {
    case Heartbeat::Phase::kStart:
      return section.start.automatic ? kStall : section.start.seconds;
    case Heartbeat::Phase::kIo:
      return section.io.automatic ? kStall : section.io.seconds;
    case Heartbeat::Phase::kStep:
      break;
  }
  return section.step.automatic ? std::max(kLeastStep, kUsualUpdates * state.usual_update) : section.step.seconds;
}

Watchdog::Watchdog(const Heartbeat& heartbeat, const WatchdogSection& section, std::filesystem::path run_directory,
                   int rank)
    : heartbeat_(heartbeat),
      section_(section),
      folder_(RunPaths{std::move(run_directory)}.hung()),
      watched_(pthread_self()),
      rank_(rank) {
  install_stack_handler();
  thread_ = std::thread([this] { watch(); });
}

Watchdog::~Watchdog() {
  {
    const std::lock_guard lock(mutex_);
    over_ = true;
  }
  wake_.notify_all();
  thread_.join();
}

void Watchdog::meet(comm::Communicator& communicator) {
  std::vector<std::string> hosts = comm::gather_texts(communicator, communicator.identity().host);
  const std::lock_guard lock(mutex_);
  rank_ = communicator.rank();
  hosts_ = std::move(hosts);
}

// Time in which this process did not run does not count: who suspends a job and lets it go on later means it well.
void Watchdog::watch() {
  std::unique_lock lock(mutex_);
  double idle = 0.0;
  std::int64_t beats = -1;
  for (double pause = 0.0; !over_;) {
    Heartbeat::State state = heartbeat_.state();
    if (state.beats != beats) {
      beats = state.beats;
      idle = std::min(state.seconds, pause);
    }
    state.seconds = idle;
    const std::optional<double> deadline = deadline_of(section_, state);
    if (deadline && idle > *deadline) {
      lock.unlock();
      end(state, *deadline);
    }
    // What comes next may have a shorter deadline than what is under way.
    pause = deadline ? std::clamp((*deadline - idle) / 4.0, 0.05, 1.0) : 1.0;
    const auto before = std::chrono::steady_clock::now();
    wake_.wait_for(lock, duration<double>(pause));
    idle += std::min(duration<double>(std::chrono::steady_clock::now() - before).count(), pause + 1.0);
  }
}

void Watchdog::end(const Heartbeat::State& state, double deadline) {
  // A file system or a terminal that hangs must not hold the end up, so another thread talks to them.
  std::mutex mutex;
  std::condition_variable told;
  bool done = false;
  std::thread([&, this] {
    report(state, deadline);
    const std::lock_guard lock(mutex);
    done = true;
    told.notify_all();
  }).detach();
  std::unique_lock lock(mutex);
  told.wait_for(lock, kLongestReport, [&] { return done; });
  end_stuck_launcher(kLauncherPatience);
  ::_exit(static_cast<int>(Fault::kHung));
}

void Watchdog::report(const Heartbeat::State& state, double deadline) const {
  int rank = 0;
  std::vector<std::string> hosts;
  {
    const std::lock_guard lock(mutex_);
    rank = rank_;
    hosts = hosts_;
  }
  const HungRank own = hung_rank(rank, host_name(), state);
  log::error("{}; run.watchdog allows {:.0f} s", describe(own), deadline);
  if (!std::filesystem::is_directory(folder_.parent_path())) {
    return;  // there is no run directory yet
  }
  std::error_code code;
  std::filesystem::create_directory(folder_, code);
  g_stack_file = ::open(file_of(folder_, rank, ".stack").c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  pthread_kill(watched_, kStackSignal);
  static_cast<void>(
      caught([&] { write_file_atomically(file_of(folder_, rank, ".json"), std::string_view(to_text(own))); }));
  std::this_thread::sleep_for(grace_of(deadline));
  const std::vector<HungRank> reports = read_reports(folder_, hosts.size());
  const auto first = std::ranges::min_element(reports, {}, &HungRank::rank);
  if (first != reports.end() && first->rank == rank) {
    log::error("{}; {} has what each rank was doing", blame(reports, hosts), folder_.string());
  } else {
    std::this_thread::sleep_for(grace_of(deadline));  // the launcher ends the job when the first process leaves
  }
}

}  // namespace dormer::train
