#include "dormer/core/heartbeat.hpp"

#include <algorithm>

namespace dormer {
namespace {

constexpr std::string_view kUpdate = "update";

double seconds_between(std::chrono::steady_clock::time_point from, std::chrono::steady_clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

}  // namespace

Heartbeat::Heartbeat() : since_(std::chrono::steady_clock::now()), began_(since_) {}

void Heartbeat::enter(Phase phase, std::string_view what, std::int64_t step) {
  const std::lock_guard lock(mutex_);
  const Time now = std::chrono::steady_clock::now();
  if (state_.what == kUpdate) {
    updates_.at(update_count_++ % kKept) = seconds_between(began_, now);
  }
  state_.phase = phase;
  state_.what = what;
  state_.step = step;
  ++state_.beats;
  since_ = began_ = now;
}

void Heartbeat::progress() {
  const std::lock_guard lock(mutex_);
  ++state_.beats;
  since_ = std::chrono::steady_clock::now();
}

std::int64_t Heartbeat::begin_operation(std::string_view name, std::int64_t bytes) {
  const std::lock_guard lock(mutex_);
  Operation& last = state_.operation;
  last = {.number = last.number + 1, .name = name, .bytes = bytes, .under_way = last.under_way + 1};
  return state_.operation.number;
}

void Heartbeat::end_operation() {
  const std::lock_guard lock(mutex_);
  --state_.operation.under_way;
}

Heartbeat::State Heartbeat::state() const {
  const std::lock_guard lock(mutex_);
  State state = state_;
  state.seconds = seconds_between(since_, std::chrono::steady_clock::now());
  if (update_count_ > 0) {
    std::array<double, kKept> sorted = updates_;
    const auto end = sorted.begin() + static_cast<std::ptrdiff_t>(std::min(update_count_, kKept));
    const auto middle = sorted.begin() + (end - sorted.begin()) / 2;
    std::nth_element(sorted.begin(), middle, end);
    state.usual_update = *middle;
  }
  return state;
}

}  // namespace dormer
