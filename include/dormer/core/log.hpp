#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include <fmt/format.h>

namespace dormer::log {

enum class Level { kDebug, kInfo, kWarning, kError };

/// Says who speaks: lines of ranks above 0 carry "[rank/size host]" and are shown from warnings upwards only.
/// Call once, before threads start.
void set_speaker(int rank, int size, const std::string& host);

/// Also appends every line that is shown to this file, with the time (UTC) before it. Rank 0's run log.
void also_to(const std::filesystem::path& file);

/// Lines below `level` are not shown.
void set_level(Level level);

/// Writes one line to stderr, in one write. Thread-safe.
void line(Level level, std::string_view text);

/// The same for what every rank has to say at this place: rank 0 says it for all.
void line_together(Level level, std::string_view text);

template <typename... Args>
void debug(fmt::format_string<Args...> format, Args&&... args) {
  line(Level::kDebug, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void info(fmt::format_string<Args...> format, Args&&... args) {
  line(Level::kInfo, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void warn(fmt::format_string<Args...> format, Args&&... args) {
  line(Level::kWarning, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void warn_together(fmt::format_string<Args...> format, Args&&... args) {
  line_together(Level::kWarning, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void error(fmt::format_string<Args...> format, Args&&... args) {
  line(Level::kError, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace dormer::log
