#include "fuzz/watch.hpp"

#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <fstream>
#include <limits>
#include <new>
#include <utility>

#include <fcntl.h>
#include <fmt/format.h>
#include <malloc.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include "dormer/core/error.hpp"

#ifdef __SANITIZE_ADDRESS__
extern "C" void __sanitizer_set_death_callback(void (*callback)());  // NOLINT: the runtime's own name
#endif

namespace dormer::fuzz {
namespace {

#ifdef __SANITIZE_ADDRESS__
constexpr double kSlower = 30.0;  // under sanitizers, on top of what a reading may take
constexpr std::size_t kLarger = 4;
#else
constexpr double kSlower = 1.0;
constexpr std::size_t kLarger = 1;
#endif

// Global, because `operator new` and signal handlers reach nothing else.
std::atomic<std::size_t> g_live{0};
std::atomic<std::size_t> g_most{std::numeric_limits<std::size_t>::max()};

/// What a dying process writes: paths and bytes that lie ready.
struct LastWords {
  pid_t process = 0;
  std::string folder;
  std::vector<std::pair<std::string, const std::string*>> files;
};
std::atomic<const LastWords*> g_last_words{nullptr};

void put(const char* text) {
  [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, text, std::strlen(text));
}

/// Only calls that a signal handler may make.
void write_last_words() {
  const LastWords* words = g_last_words.exchange(nullptr);
  if (words == nullptr || words->process != ::getpid()) {  // a child that may die says nothing
    return;
  }
  ::mkdir(words->folder.c_str(), 0755);
  for (const auto& [path, bytes] : words->files) {
    const int file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
    [[maybe_unused]] const ssize_t written = ::write(file, bytes->data(), bytes->size());
    ::close(file);
  }
  put("finding: died at ");
  put(words->folder.c_str());
  put("\n");
}

extern "C" void dormer_fuzz_on_signal(int number) {
  if (number == SIGPROF) {
    put("finding: took more time than its size allows\n");
    write_last_words();
    ::_exit(1);
  }
  write_last_words();
  ::signal(number, SIG_DFL);
  ::raise(number);
}

void catch_signal(int number) {
  struct sigaction action = {};
  action.sa_handler = dormer_fuzz_on_signal;
  action.sa_flags = SA_ONSTACK;  // a stack that has overflown has no room for a handler
  sigaction(number, &action, nullptr);
}

void set_timer(double seconds) {
  const auto whole = static_cast<time_t>(seconds);
  const auto rest = static_cast<suseconds_t>((seconds - static_cast<double>(whole)) * 1e6);
  const struct itimerval timer = {.it_interval = {0, 0}, .it_value = {whole, rest}};
  ::setitimer(ITIMER_PROF, &timer, nullptr);
}

#ifndef __SANITIZE_ADDRESS__
/// LibTorch and HDF5 do not take their memory by `operator new`.
void limit_address_space() {
  std::size_t pages = 0;
  std::ifstream("/proc/self/statm") >> pages;
  const rlim_t bytes = pages * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE)) + (rlim_t{1} << 30);
  const struct rlimit limit = {bytes, RLIM_INFINITY};
  ::setrlimit(RLIMIT_AS, &limit);
}
#endif

std::size_t size_of_all(const Files& files) {
  std::size_t total = 0;
  for (const auto& [name, bytes] : files) {
    total += bytes.size();
  }
  return total;
}

std::string verdict_of(const std::function<void()>& body) {
  try {
    body();
    return "";
  } catch (const Error& error) {
    const bool allowed = error.fault() == Fault::kUsage || error.fault() == Fault::kInput;
    return allowed ? "" : fmt::format("an error of fault {}: {}", error.exit_code(), error.what());
  } catch (const Unsound& error) {
    return fmt::format("accepted with {}", error.what());
  } catch (const std::bad_alloc&) {
    return "took more memory than its size allows";
  } catch (const std::exception& error) {
    return fmt::format("an exception of a library: {}", error.what());
  }
}

}  // namespace

Watch::Watch(std::filesystem::path findings) : findings_(std::move(findings)) {
  std::filesystem::create_directories(findings_);
  static std::array<char, std::size_t{1} << 16> stack;
  const stack_t alternate = {.ss_sp = stack.data(), .ss_flags = 0, .ss_size = stack.size()};
  catch_signal(SIGPROF);
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_set_death_callback(write_last_words);
  catch_signal(SIGABRT);
  static_cast<void>(alternate);
#else
  ::sigaltstack(&alternate, nullptr);
  for (const int number : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT}) {
    catch_signal(number);
  }
  limit_address_space();
#endif
}

Watch::~Watch() {
  g_most = std::numeric_limits<std::size_t>::max();
}

std::string Watch::run(const std::string& name, const Files& files, const std::function<void()>& body) {
  LastWords words{.process = ::getpid(), .folder = (findings_ / name).string(), .files = {}};
  for (const auto& [file, bytes] : files) {
    words.files.emplace_back(words.folder + "/" + file, &bytes);
  }
  const std::size_t size = size_of_all(files);
  g_last_words = &words;
  set_timer((allowance_.seconds + allowance_.seconds_per_megabyte * static_cast<double>(size) / 1e6) * kSlower);
  g_most = g_live + (allowance_.bytes + allowance_.bytes_per_byte * size) * kLarger;
  std::string verdict = verdict_of(body);
  g_most = std::numeric_limits<std::size_t>::max();
  set_timer(0.0);
  g_last_words = nullptr;
  return verdict;
}

std::filesystem::path Watch::keep(const std::string& name, const Files& files) const {
  const std::filesystem::path folder = findings_ / name;
  std::filesystem::create_directories(folder);
  for (const auto& [file, bytes] : files) {
    std::ofstream(folder / file, std::ios::binary) << bytes;
  }
  return folder;
}

}  // namespace dormer::fuzz

// Every `new` of the program and of libdormer.so: counted, and refused beyond what a reading may take.
void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  using dormer::fuzz::g_live;
  void* memory = g_live + size > dormer::fuzz::g_most ? nullptr : std::malloc(size);
  g_live += memory == nullptr ? 0 : ::malloc_usable_size(memory);
  return memory;
}
void* operator new(std::size_t size) {
  void* memory = ::operator new(size, std::nothrow);
  if (memory == nullptr) {
    throw std::bad_alloc();
  }
  return memory;
}
void operator delete(void* memory) noexcept {
  if (memory != nullptr) {
    dormer::fuzz::g_live -= ::malloc_usable_size(memory);
  }
  std::free(memory);
}
void operator delete(void* memory, std::size_t) noexcept {
  ::operator delete(memory);
}
