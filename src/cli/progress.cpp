#include "cli/progress.hpp"

#include <cmath>
#include <string_view>

#include <unistd.h>

#include "dormer/core/log.hpp"

namespace dormer::cli {
namespace {

constexpr std::chrono::seconds kBetweenLines{5};

void write_to_terminal(std::string_view text) {
  [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, text.data(), text.size());
}

}  // namespace

std::string time_text(double seconds) {
  const auto whole = static_cast<long>(std::lround(std::max(seconds, 0.0)));
  if (whole < 60) {
    return fmt::format("{} s", whole);
  }
  return whole < 3600 ? fmt::format("{} min {:02} s", whole / 60, whole % 60)
                      : fmt::format("{} h {:02} min", whole / 3600, whole % 3600 / 60);
}

std::string progress_text(const train::Progress& progress) {
  const std::string speed = progress.samples_per_second > 0.0
                                ? fmt::format("{:.2f} samples/s", progress.samples_per_second)
                                : fmt::format("{:.0f} tokens/s", progress.tokens_per_second);
  return fmt::format("update {}/{}  loss {:.4f}  {}  {} left", progress.step, progress.total, progress.loss, speed,
                     time_text(progress.seconds_left));
}

void ProgressLine::show(const train::Progress& progress) {
  if (progress.validation_loss) {
    end();
    log::info("update {}/{}: held-out loss {:.4f}", progress.step, progress.total, *progress.validation_loss);
  }
  if (progress.step == 0) {  // no update yet
    return;
  }
  if (terminal_) {
    write_to_terminal("\r\x1b[K" + progress_text(progress));
    open_ = true;
    return;
  }
  const auto now = std::chrono::steady_clock::now();
  if (!shown_ || now - *shown_ >= kBetweenLines || progress.step == progress.total) {
    log::info("{}", progress_text(progress));
    shown_ = now;
  }
}

void ProgressLine::end() {
  if (open_) {
    write_to_terminal("\n");
    open_ = false;
  }
}

}  // namespace dormer::cli
