#pragma once

#include <functional>
#include <memory>

#include "dormer/comm/communicator.hpp"

namespace dormer::comm {

/// Ranks as threads of this process, for tests and tools.
class ThreadWorld {
 public:
  explicit ThreadWorld(int ranks);

  /// Calls `body` once per rank, each in its own thread with its own communicator, and returns when all have ended.
  /// The first exception is thrown again; the other ranks' operations then fail instead of waiting for ever, and so do
  /// operations that wait for a rank whose `body` has already returned.
  void run(const std::function<void(Communicator&)>& body) const;

 private:
  int ranks_;
};

}  // namespace dormer::comm
