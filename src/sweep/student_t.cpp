#include <cmath>
#include <numbers>

#include "dormer/core/error.hpp"
#include "dormer/sweep/leaderboard.hpp"

namespace dormer::sweep {
namespace {

/// The probability of [-t, t] with t = sqrt(degrees) tan(angle): finite sums in the angle, rising with it.
double within(double angle, std::int64_t degrees) {
  const double cosine = std::cos(angle);
  const bool odd = degrees % 2 == 1;
  double term = odd ? cosine : 1.0;
  double sum = degrees == 1 ? 0.0 : term;
  for (std::int64_t power = odd ? 3 : 2; power <= degrees - 2; power += 2) {
    term *= cosine * cosine * static_cast<double>(power - 1) / static_cast<double>(power);
    sum += term;
  }
  return odd ? 2.0 / std::numbers::pi * (angle + std::sin(angle) * sum) : std::sin(angle) * sum;
}

}  // namespace

double student_t(double confidence, std::int64_t degrees) {
  invariant(degrees >= 1 && confidence > 0.0 && confidence < 1.0, "no t for {} with {} degrees of freedom", confidence,
            degrees);
  double low = 0.0;
  double high = std::numbers::pi / 2.0;
  for (double middle = 0.5 * (low + high); middle > low && middle < high; middle = 0.5 * (low + high)) {
    (within(middle, degrees) < confidence ? low : high) = middle;
  }
  return std::sqrt(static_cast<double>(degrees)) * std::tan(low);
}

}  // namespace dormer::sweep
