#pragma once

#include <algorithm>
#include <barrier>
#include <cstdint>
#include <thread>
#include <vector>

#include "dormer/kernels/team.hpp"

namespace dormer::kernels {

/// Lanes that run at the same time, as on a GPU: one thread each. A row function that reads what another lane may have
/// written is a data race here.
class ThreadTeam {
 public:
  struct Shared {
    explicit Shared(int count) : lanes(count), barrier(count), parts(static_cast<std::size_t>(count)) {}
    int lanes;
    std::barrier<> barrier;
    std::vector<double> parts;
  };

  ThreadTeam(Shared& shared, int lane) : shared_(shared), lane_(lane) {}

  template <typename Function>
  void each(std::int64_t count, const Function& f) const {
    for (std::int64_t i = lane_; i < count; i += shared_.lanes) {
      f(i);
    }
  }
  template <typename Function>
  float sum(std::int64_t count, const Function& f) const {
    return added<float>(lane_part(lane_, shared_.lanes, count, f));
  }
  template <typename Function>
  double long_sum(std::int64_t count, const Function& f) const {
    return added<double>(lane_long_part(lane_, shared_.lanes, count, f));
  }
  template <typename Function>
  double exact_sum(std::int64_t count, const Function& f) const {
    return added<double>(lane_exact_part(lane_, shared_.lanes, count, f));
  }
  template <typename Function>
  float maximum(std::int64_t count, const Function& f) const {
    const std::vector<double> parts = gathered(lane_maximum(lane_, shared_.lanes, count, f));
    return static_cast<float>(*std::max_element(parts.begin(), parts.end()));
  }
  template <typename Function>
  void once(const Function& f) const {
    if (lane_ == 0) {
      f();
    }
  }

  /// Runs `row(team)` by as many threads as the team has lanes.
  template <typename Row>
  static void run(int lanes, const Row& row) {
    Shared shared(lanes);
    std::vector<std::thread> threads;
    for (int lane = 0; lane < lanes; ++lane) {
      threads.emplace_back([&shared, &row, lane] { row(ThreadTeam(shared, lane)); });
    }
    for (std::thread& thread : threads) {
      thread.join();
    }
  }

 private:
  [[nodiscard]] std::vector<double> gathered(double part) const {
    shared_.parts[static_cast<std::size_t>(lane_)] = part;
    shared_.barrier.arrive_and_wait();
    std::vector<double> parts = shared_.parts;
    shared_.barrier.arrive_and_wait();
    return parts;
  }

  template <typename Value>
  [[nodiscard]] Value added(Value part) const {
    const std::vector<double> parts = gathered(part);
    std::vector<Value> values(parts.begin(), parts.end());
    for (std::size_t distance = 1; distance < values.size(); distance *= 2) {
      for (std::size_t lane = 0; lane < values.size(); lane += 2 * distance) {
        values[lane] += values[lane + distance];
      }
    }
    return values.front();
  }

  Shared& shared_;
  int lane_;
};

}  // namespace dormer::kernels
