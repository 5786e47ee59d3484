#include "dormer/tensor/device_kernels.hpp"

#include <memory>

#include <ATen/core/Tensor.h>

#include "dormer/core/error.hpp"
#include "dormer/tensor/process.hpp"

namespace dormer::tensor {
namespace {

/// The process's choice of kernels. It changes when a module is loaded, and in tests.
struct Chosen {
  std::unique_ptr<kernels::Kernels> host = kernels::host_loops(&for_parts);
  const kernels::Kernels* gpu = nullptr;
  const kernels::Kernels* replaced = nullptr;
};

Chosen& chosen() {
  static Chosen kernels;
  return kernels;
}

}  // namespace

const kernels::Kernels& kernels_for(const at::Tensor& values) {
  const Chosen& known = chosen();
  if (known.replaced != nullptr) {
    return *known.replaced;
  }
  if (values.device().is_cpu()) {
    return *known.host;
  }
  invariant(known.gpu != nullptr, "no kernels for a tensor on {}", values.device().str());
  return *known.gpu;
}

bool by_host_loops(const at::Tensor& values) {
  return values.device().is_cpu() && chosen().replaced == nullptr;
}

void register_gpu_kernels(const kernels::Kernels& kernels) {
  chosen().gpu = &kernels;
}

KernelsReplaced::KernelsReplaced(const kernels::Kernels& kernels) : before_(chosen().replaced) {
  chosen().replaced = &kernels;
}
KernelsReplaced::~KernelsReplaced() {
  chosen().replaced = before_;
}

}  // namespace dormer::tensor
