#pragma once

#include <source_location>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>

#include <fmt/format.h>

namespace dormer {

/// Whose fault it is. The value is the exit code of the program (docs/architecture.md lists them).
enum class Fault : int {
  kUsage = 2,      ///< bad usage or configuration
  kInput = 3,      ///< bad input file
  kIo = 4,         ///< the system refused a read or write
  kNumerical = 5,  ///< not-a-number or infinity where training cannot go on
  kBug = 70,       ///< ours
  kRequeue = 85,   ///< saved; start me again
  kHung = 86,      ///< ended by the watchdog
  kInUse = 87,     ///< another process owns the run directory
};

/// The one exception. The message is one line: the thing, the place, and what to do.
class Error : public std::runtime_error {
 public:
  Error(Fault fault, const std::string& message) : std::runtime_error(message), fault_(fault) {}
  [[nodiscard]] Fault fault() const noexcept { return fault_; }
  [[nodiscard]] int exit_code() const noexcept { return static_cast<int>(fault_); }

 private:
  Fault fault_;
};

/// An error that every rank throws at the same place, with the same message: rank 0 alone tells it, and all ranks can
/// still end in order.
class AgreedError final : public Error {
 public:
  using Error::Error;
};

template <typename... Args>
[[noreturn]] void fail(Fault fault, fmt::format_string<Args...> format, Args&&... args) {
  throw Error(fault, fmt::format(format, std::forward<Args>(args)...));
}

/// `fail` for an error that every rank throws here.
template <typename... Args>
[[noreturn]] void fail_together(Fault fault, fmt::format_string<Args...> format, Args&&... args) {
  throw AgreedError(fault, fmt::format(format, std::forward<Args>(args)...));
}

/// Throws `Error(fault, …)` unless `condition`; for mistakes of callers and of files.
template <typename... Args>
void require(bool condition, Fault fault, fmt::format_string<Args...> format, Args&&... args) {
  if (!condition) [[unlikely]] {
    fail(fault, format, std::forward<Args>(args)...);
  }
}

/// A format string that remembers where it was written.
template <typename... Args>
struct LocatedFormat {
  template <typename String>
  consteval LocatedFormat(const String& text,  // NOLINT(google-explicit-constructor): must convert from a literal
                          std::source_location where = std::source_location::current())
      : format(text), location(where) {}
  fmt::format_string<Args...> format;
  std::source_location location;
};

/// Throws `Error(Fault::kBug, …)` with file and line unless `condition`; for mistakes of ours.
template <typename... Args>
void invariant(bool condition, std::type_identity_t<LocatedFormat<Args...>> format, Args&&... args) {
  if (!condition) [[unlikely]] {
    throw Error(Fault::kBug, fmt::format("{}:{}: {}", format.location.file_name(), format.location.line(),
                                         fmt::format(format.format, std::forward<Args>(args)...)));
  }
}

}  // namespace dormer
