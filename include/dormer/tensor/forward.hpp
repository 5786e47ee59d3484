#pragma once

/// Declares LibTorch's types that our headers name. LibTorch's own headers cost seconds a source file; include
/// <ATen/core/Tensor.h> and single <ATen/ops/…> headers in sources only.
namespace at {
class Tensor;
}
