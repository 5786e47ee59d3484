#pragma once

#include "dormer/kernels/kernels.hpp"
#include "dormer/tensor/forward.hpp"

namespace dormer::tensor {

/// What computes on the device where this tensor lies: the host loops, or what the GPU module registered.
[[nodiscard]] const kernels::Kernels& kernels_for(const at::Tensor& values);

/// Whether these are the host loops: what has a way of its own on a CPU asks here, so that replaced kernels see a
/// GPU's.
[[nodiscard]] bool by_host_loops(const at::Tensor& values);

/// From now on tensors on GPUs are computed by `kernels`, which lives as long as the process. Called once, when the
/// module is loaded.
void register_gpu_kernels(const kernels::Kernels& kernels);

/// While it lives, tensors of every device are computed by `kernels`: for tests and dry runs, from one thread.
class KernelsReplaced {
 public:
  explicit KernelsReplaced(const kernels::Kernels& kernels);
  ~KernelsReplaced();
  KernelsReplaced(const KernelsReplaced&) = delete;
  KernelsReplaced& operator=(const KernelsReplaced&) = delete;

 private:
  const kernels::Kernels* before_;
};

}  // namespace dormer::tensor
