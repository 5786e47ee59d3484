#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "dormer/sweep/event.hpp"

namespace dormer::sweep {

/// A worker had a trial, in seconds since the sweep began.
struct Stay {
  std::string worker;
  std::int64_t trial = 0;
  double begin = 0.0;
  double end = 0.0;

  friend bool operator==(const Stay&, const Stay&) = default;
};

/// Which worker had which trial when, from a journal's events in their order. Pure.
class Timeline {
 public:
  void apply(const Event& event);
  /// By the time at which they began; of those that go on `end` is that of the last event.
  [[nodiscard]] std::vector<Stay> stays() const;

 private:
  void close(std::int64_t trial, std::int64_t attempt, double time);

  struct Open {
    std::int64_t attempt = 0;
    std::size_t stay = 0;
  };
  std::vector<Stay> stays_{};
  std::map<std::int64_t, Open> open_{};  ///< by trial
  double first_ = 0.0;
  double last_ = 0.0;
  bool begun_ = false;
};

}  // namespace dormer::sweep
