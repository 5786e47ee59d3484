#include "sweep/pack_width.hpp"

#include <algorithm>
#include <utility>

namespace dormer::sweep {
namespace {

constexpr double kWorthIt = 1.1;      // times the samples a second
constexpr std::size_t kWarmUp = 2;    // turns in which memory is touched and kernels are chosen
constexpr std::size_t kMeasured = 5;  // turns whose median counts
constexpr std::size_t kWidest = 64;   // what one measured step more would bring is little by then

}  // namespace

PackWidth::PackWidth(std::optional<std::int64_t> fixed, Fits fits) : fits_(std::move(fits)) {
  if (fixed) {
    settle(static_cast<std::size_t>(*fixed));
  }
}

void PackWidth::settle(std::size_t width) {
  width_ = width;
  settled_ = true;
}

void PackWidth::note(const train::PackTurn& turn) {
  if (settled_ || turn.updated != width_ || turn.seconds <= 0.0) {
    return;
  }
  rates_.push_back(static_cast<double>(turn.samples) / turn.seconds);
  if (rates_.size() < kWarmUp + kMeasured) {
    return;
  }
  const auto measured = rates_.begin() + kWarmUp;
  std::nth_element(measured, measured + kMeasured / 2, rates_.end());
  const double rate = measured[kMeasured / 2];
  rates_.clear();
  if (width_ > 1 && rate < kWorthIt * rate_before_) {
    settle(width_ / 2);
  } else if (2 * width_ > kWidest || !fits_(2 * width_)) {
    settle(width_);
  } else {
    rate_before_ = rate;
    width_ *= 2;
  }
}

}  // namespace dormer::sweep
