#pragma once

#include <cstddef>
#include <filesystem>
#include <functional>
#include <string>

#include "fuzz/reader.hpp"

namespace dormer::fuzz {

/// What one reading may take: so much for any file, and a multiple of its size.
struct Allowance {
  std::size_t bytes = std::size_t{48} << 20;
  std::size_t bytes_per_byte = 64;
  double seconds = 0.5;  ///< of a processor
  double seconds_per_megabyte = 1.0;
};

/// Looks at readings from outside of them. An input at which the process dies (of a signal, of a sanitizer's finding,
/// of a timer) is written to `findings` by the last thing that the process does.
class Watch {
 public:
  explicit Watch(std::filesystem::path findings);
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;
  ~Watch();

  /// Runs `body` on `files` within the allowance. Returns what is wrong with it, or nothing. `name` is of the finding.
  [[nodiscard]] std::string run(const std::string& name, const Files& files, const std::function<void()>& body);
  /// Writes the input of a finding: FINDINGS/NAME/FILE. Returns the folder.
  [[nodiscard]] std::filesystem::path keep(const std::string& name, const Files& files) const;

 private:
  std::filesystem::path findings_;
  Allowance allowance_;
};

}  // namespace dormer::fuzz
