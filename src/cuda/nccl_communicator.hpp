#pragma once

#include <memory>

#include "dormer/comm/communicator.hpp"
#include "dormer/device/cuda_module.hpp"

namespace dormer::cuda {

/// A communicator over device buffers. Operations run on a stream of its own: each waits for what LibTorch's current
/// stream holds when it is called, and `Pending::wait` makes LibTorch's current stream wait for it; the host does not
/// wait, except in `barrier` and `finalize`. `rendezvous` must outlive it. `finalize` leaves `rendezvous` open.
[[nodiscard]] std::unique_ptr<comm::Communicator> make_nccl_communicator(comm::Communicator& rendezvous,
                                                                         const device::NcclOptions& options);

}  // namespace dormer::cuda
