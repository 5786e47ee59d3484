// A device of LibTorch whose tensors lie in memory that the host cannot touch. Each of LibTorch's operations copies its
// arguments to the host, computes there and copies the results back; operations that mix host and device are refused,
// and backward passes run in a thread of the device, all as with CUDA.
#include <cstring>

#include <ATen/EmptyTensor.h>
#include <ATen/core/Tensor.h>
#include <ATen/detail/PrivateUse1HooksInterface.h>
#include <ATen/native/CPUFallback.h>
#include <ATen/ops/_reshape_alias_native.h>
#include <ATen/ops/as_strided_native.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/view_native.h>
#include <c10/core/DeviceGuard.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <torch/library.h>

#include "dormer/core/error.hpp"
#include "simulated_gpu/device_memory.hpp"
#include "simulated_gpu/simulated_devices.hpp"
#include "simulated_gpu/simulation.hpp"

namespace dormer::testing {
namespace {

constexpr auto kType = c10::DeviceType::PrivateUse1;

thread_local c10::DeviceIndex current_device = 0;
thread_local bool inside_fallback = false;  // its copies are the simulation's own

struct DeviceAllocator final : c10::Allocator {
  c10::DataPtr allocate(std::size_t bytes) override {
    const c10::Device device(kType, current_device);
    if (bytes == 0) {
      return {nullptr, nullptr, &free_device_memory, device};
    }
    void* memory = allocate_device_memory(bytes);
    return {memory, memory, &free_block, device};
  }
  [[nodiscard]] c10::DeleterFnPtr raw_deleter() const override { return &free_block; }
  void copy_data(void* to, const void* from, std::size_t bytes) const override {
    const DeviceMemoryOpened opened;
    std::memcpy(to, from, bytes);
  }

 private:
  static void free_block(void* memory) {
    if (memory != nullptr) {
      free_device_memory(memory);
    }
  }
};

DeviceAllocator allocator;
REGISTER_ALLOCATOR(kType, &allocator);

struct DeviceGuard final : c10::impl::DeviceGuardImplInterface {
  static constexpr c10::DeviceType static_type = kType;
  DeviceGuard() = default;
  explicit DeviceGuard(c10::DeviceType /*type*/) {}
  [[nodiscard]] c10::DeviceType type() const override { return kType; }
  [[nodiscard]] c10::Device exchangeDevice(c10::Device device) const override {
    const c10::Device before = getDevice();
    setDevice(device);
    return before;
  }
  [[nodiscard]] c10::Device getDevice() const override { return {kType, current_device}; }
  void setDevice(c10::Device device) const override { current_device = device.index(); }
  void uncheckedSetDevice(c10::Device device) const noexcept override { current_device = device.index(); }
  [[nodiscard]] c10::Stream getStream(c10::Device device) const override {
    const c10::DeviceIndex index = device.has_index() ? device.index() : current_device;
    return c10::Stream(c10::Stream::DEFAULT, c10::Device(kType, index));
  }
  [[nodiscard]] c10::Stream exchangeStream(c10::Stream stream) const override { return stream; }
  [[nodiscard]] c10::DeviceIndex deviceCount() const noexcept override {
    return static_cast<c10::DeviceIndex>(simulated_devices());
  }
};
C10_REGISTER_GUARD_IMPL(PrivateUse1, DeviceGuard);

/// With a name the device is LibTorch's accelerator: backward passes follow its streams, as with CUDA.
struct Hooks final : at::PrivateUse1HooksInterface {
  [[nodiscard]] bool isAvailable() const override { return true; }
  [[nodiscard]] bool hasPrimaryContext(c10::DeviceIndex /*device*/) const override { return true; }
};

const bool registered = [] {
  c10::register_privateuse1_backend(kSimulatedDevice);
  at::RegisterPrivateUse1HooksInterface(new Hooks);  // LibTorch's from now on
  return true;
}();

/// The same memory, as the host's.
at::Tensor host_alias(const at::Tensor& tensor) {
  if (tensor.is_cpu()) {
    return tensor;
  }
  return at::for_blob(tensor.data_ptr(), tensor.sizes())
      .strides(tensor.strides())
      .options(tensor.options().device(at::kCPU))
      .target_device(at::kCPU)
      .make_tensor();
}

at::Tensor empty_of(c10::IntArrayRef size, std::optional<at::ScalarType> dtype, std::optional<at::Layout> /*layout*/,
                    std::optional<at::Device> device, std::optional<bool> /*pinned*/,
                    std::optional<at::MemoryFormat> format) {
  const c10::OptionalDeviceGuard guard(device);
  return at::detail::empty_generic(size, &allocator, c10::DispatchKeySet(c10::DispatchKey::PrivateUse1),
                                   dtype.value_or(at::kFloat), format);
}

at::Tensor empty_strided_of(c10::IntArrayRef size, c10::IntArrayRef stride, std::optional<at::ScalarType> dtype,
                            std::optional<at::Layout> /*layout*/, std::optional<at::Device> device,
                            std::optional<bool> /*pinned*/) {
  const c10::OptionalDeviceGuard guard(device);
  return at::detail::empty_strided_generic(size, stride, &allocator, c10::DispatchKeySet(c10::DispatchKey::PrivateUse1),
                                           dtype.value_or(at::kFloat));
}

at::Tensor copy_between(const at::Tensor& from, const at::Tensor& to, bool /*non_blocking*/) {
  if (!inside_fallback && to.is_cpu()) {
    ++dormer_simulation_counts()->copies_to_host;
  }
  const DeviceMemoryOpened opened;
  host_alias(to).copy_(host_alias(from));
  return to;
}

const at::Tensor& resize_of(const at::Tensor& tensor, c10::IntArrayRef size,
                            std::optional<at::MemoryFormat> /*format*/) {
  if (tensor.sizes() != size) {
    auto* implementation = tensor.unsafeGetTensorImpl();
    implementation->set_storage_keep_dtype(at::empty(size, tensor.options()).storage());
    implementation->set_sizes_contiguous(size);
  }
  return tensor;
}

at::Tensor copy_and_resize(const at::Tensor& from, const at::Tensor& to) {
  to.resize_(from.sizes());
  return copy_between(from, to, false);
}

/// LibTorch's own operations on a GPU take host tensors only where they are single numbers.
void require_one_device(const c10::OperatorHandle& op, const torch::jit::Stack& stack) {
  const std::size_t arguments = op.schema().arguments().size();
  const auto check = [&](const at::Tensor& tensor) {
    invariant(!tensor.defined() || !tensor.is_cpu() || tensor.dim() == 0, "{} mixes tensors of host and GPU",
              op.schema().name());
  };
  for (std::size_t i = stack.size() - arguments; i < stack.size(); ++i) {
    if (stack[i].isTensor()) {
      check(stack[i].toTensor());
    } else if (stack[i].isTensorList()) {
      for (const at::Tensor& tensor : stack[i].toTensorVector()) {
        check(tensor);
      }
    }
  }
}

void compute_on_host(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  require_one_device(op, *stack);
  const std::string& name = op.schema().name();
  if (name == "aten::_local_scalar_dense" || name == "aten::equal" || name == "aten::nonzero") {
    ++dormer_simulation_counts()->copies_to_host;
  }
  const bool before = std::exchange(inside_fallback, true);
  at::native::cpu_fallback(op, stack, /*error_on_views=*/true);
  inside_fallback = before;
}

TORCH_LIBRARY_IMPL(_, PrivateUse1, library) {
  library.fallback(torch::CppFunction::makeFromBoxedFunction<&compute_on_host>());
}

TORCH_LIBRARY_IMPL(aten, PrivateUse1, library) {
  library.impl("empty.memory_format", &empty_of);
  library.impl("empty_strided", &empty_strided_of);
  library.impl("_copy_from", &copy_between);
  library.impl("_copy_from_and_resize", &copy_and_resize);
  library.impl("resize_", &resize_of);
  library.impl("view", &at::native::view);
  library.impl("as_strided", &at::native::as_strided_tensorimpl);
  library.impl("_reshape_alias", &at::native::_reshape_alias);
}

}  // namespace
}  // namespace dormer::testing
