#pragma once

#include <cstddef>
#include <functional>
#include <memory>

#include "dormer/comm/communicator.hpp"

namespace dormer::comm {

/// Memory that a communicator works on, and how the host fills and reads it.
struct Memory {
  std::function<std::shared_ptr<void>(std::size_t bytes)> allocate;
  std::function<void(void* to, const void* from, std::size_t bytes)> copy_in;
  std::function<void(void* to, const void* from, std::size_t bytes)> copy_out;
};

/// Lets host buffers go through a communicator of other memory: each is copied there and, after `Pending::wait`, back.
[[nodiscard]] std::unique_ptr<Communicator> staged(std::unique_ptr<Communicator> inner, Memory memory);

}  // namespace dormer::comm
