#include "dormer/core/log.hpp"

#include <cstdio>
#include <ctime>
#include <mutex>
#include <string>

#include <unistd.h>

namespace dormer::log {
namespace {

// The one piece of mutable state at namespace scope: where lines go.
struct Sink {
  std::mutex mutex;
  Level level = Level::kInfo;
  int rank = 0;
  std::string prefix;
  std::FILE* file = nullptr;
};

Sink& sink() {
  static Sink instance;
  return instance;
}

std::string utc_now() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  gmtime_r(&now, &parts);
  std::string text(32, '\0');
  text.resize(std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%SZ ", &parts));
  return text;
}

}  // namespace

void set_speaker(int rank, int size, const std::string& host) {
  Sink& out = sink();
  const std::scoped_lock lock(out.mutex);
  out.rank = rank;
  out.prefix = size > 1 && rank > 0 ? fmt::format("[{}/{} {}] ", rank, size, host) : std::string();
}

void also_to(const std::filesystem::path& file) {
  Sink& out = sink();
  const std::scoped_lock lock(out.mutex);
  if (out.file != nullptr) {
    std::fclose(out.file);
  }
  out.file = std::fopen(file.c_str(), "a");
}

void set_level(Level level) {
  Sink& out = sink();
  const std::scoped_lock lock(out.mutex);
  out.level = level;
}

void line(Level level, std::string_view text) {
  Sink& out = sink();
  const std::scoped_lock lock(out.mutex);
  if (level < out.level || (out.rank > 0 && level < Level::kWarning)) {
    return;
  }
  const char* mark = level == Level::kError ? "error: " : level == Level::kWarning ? "warning: " : "";
  const std::string message = fmt::format("{}{}{}\n", out.prefix, mark, text);
  std::fflush(stdout);
  [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, message.data(), message.size());
  if (out.file != nullptr) {
    std::fputs((utc_now() + message).c_str(), out.file);
    std::fflush(out.file);
  }
}

void line_together(Level level, std::string_view text) {
  bool first = false;
  {
    Sink& out = sink();
    const std::scoped_lock lock(out.mutex);
    first = out.rank == 0;
  }
  if (first) {
    line(level, text);
  }
}

}  // namespace dormer::log
