#pragma once

#include <array>
#include <cstdint>
#include <memory>

#include "dormer/comm/communicator.hpp"

namespace dormer::comm {

/// What one rank has asked of its communicator so far. Bytes are those that must cross between ranks whatever the
/// algorithm; with one rank there are none, and messages of a rank to itself do not count:
///   exchange        sent and received: the messages
///   all_reduce      sent and received: the buffer
///   reduce_scatter  sent: the other ranks' slices; received: the own slice
///   all_gather      sent: the own part; received: the other ranks' parts
///   broadcast       sent: the buffer on the root; received: the buffer elsewhere
struct Trace {
  struct Count {
    std::int64_t calls = 0;
    std::int64_t bytes_sent = 0;
    std::int64_t bytes_received = 0;
    bool operator==(const Count&) const = default;
  };
  std::array<Count, kOperationCount> operations{};

  [[nodiscard]] const Count& of(Operation operation) const {
    return operations.at(static_cast<std::size_t>(operation));
  }
  [[nodiscard]] Count total() const;
};

/// Wraps a communicator and counts what goes through it into `trace`, which must outlive it.
[[nodiscard]] std::unique_ptr<Communicator> traced(std::unique_ptr<Communicator> inner, Trace& trace);

}  // namespace dormer::comm
