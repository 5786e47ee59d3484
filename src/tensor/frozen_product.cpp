#include "dormer/tensor/frozen_product.hpp"

#include <algorithm>
#include <atomic>
#include <exception>
#include <optional>
#include <string>

#include <ATen/core/List.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/ones.h>

#include "dormer/core/error.hpp"

namespace dormer::tensor {
namespace {

using LinearPointwise = at::Tensor(const at::Tensor&, const at::Tensor&, const std::optional<at::Tensor>&,
                                   std::string_view, c10::List<std::optional<at::Scalar>>,
                                   std::optional<std::string_view>);

/// oneDNN's linear product as LibTorch registers it, or nothing in a LibTorch without it.
const std::optional<c10::TypedOperatorHandle<LinearPointwise>>& one_dnn_linear() {
  static const std::optional<c10::TypedOperatorHandle<LinearPointwise>> handle =
      []() -> std::optional<c10::TypedOperatorHandle<LinearPointwise>> {
    const auto found = c10::Dispatcher::singleton().findSchema({"mkldnn::_linear_pointwise", ""});
    if (!found || !found->hasKernelForDispatchKey(c10::DispatchKey::CPU)) {
      return std::nullopt;
    }
    try {
      return found->typed<LinearPointwise>();
    } catch (const c10::Error&) {  // another signature in another LibTorch: the plain product serves
      return std::nullopt;
    }
  }();
  return handle;
}

// Of the process; ranks that are its threads choose it at the same time.
std::atomic<ProductPath>& chosen_path() {
  static std::atomic<ProductPath> path = default_product_path();
  return path;
}

/// oneDNN's products are the CPU's, and those of a CPU's rehearsal.
bool by_one_dnn(const at::Tensor& x) {
  return chosen_path() == ProductPath::kOneDnn && (x.device().is_cpu() || x.device().is_meta());
}

/// Small results of long sums, such as the gradients of small factors: oneDNN shares out the results alone and takes up
/// to twice as long in fp32.
bool sums_are_long(const at::Tensor& x, const at::Tensor& weight) {
  constexpr std::int64_t kSmall = 128;
  constexpr std::int64_t kLong = 64;  // times the larger side of the result
  const std::int64_t larger = std::max(x.size(0), weight.size(1));
  return x.scalar_type() == at::kFloat && larger <= kSmall && x.size(1) >= kLong * larger;
}

at::Tensor call_one_dnn(const at::Tensor& x, const at::Tensor& weight) {
  return one_dnn_linear()->call(x, weight, std::nullopt, "none", c10::List<std::optional<at::Scalar>>(), std::nullopt);
}

/// oneDNN has no half-precision products for CPUs without the instructions (AVX2 alone), and says so in the first one.
bool one_dnn_multiplies(at::ScalarType dtype) {
  const auto probe = [](at::ScalarType probed) {
    const c10::impl::ExcludeDispatchKeyGuard no_recording(c10::autograd_dispatch_keyset);
    try {
      const at::Tensor ones = at::ones({16, 16}, probed);
      return call_one_dnn(ones, ones).defined();
    } catch (const std::exception&) {
      return false;
    }
  };
  if (dtype == at::kBFloat16) {
    static const bool found = probe(at::kBFloat16);
    return found;
  }
  if (dtype == at::kHalf) {
    static const bool found = probe(at::kHalf);
    return found;
  }
  return true;
}

/// Sums are fp32 and rounded once, as in a product of the dtype; at::mm there takes ten times as long and more.
at::Tensor one_dnn_product(const at::Tensor& x, const at::Tensor& weight) {
  if (one_dnn_multiplies(x.scalar_type())) {
    return call_one_dnn(x, weight);
  }
  return call_one_dnn(x.to(at::kFloat), weight.to(at::kFloat)).to(x.scalar_type());
}

}  // namespace

ProductPath default_product_path() {
  return one_dnn_linear() ? ProductPath::kOneDnn : ProductPath::kPlain;
}

void set_product_path(ProductPath path) {
  require(path != ProductPath::kOneDnn || one_dnn_linear().has_value(), Fault::kUsage,
          "run.linear: this LibTorch has no oneDNN products; write run.linear: plain");
  chosen_path() = path;
}

ProductPath product_path() {
  return chosen_path();
}
std::string_view name_of(ProductPath path) {
  return path == ProductPath::kOneDnn ? "onednn" : "plain";
}

at::Tensor multiply_transposed(const at::Tensor& x, const at::Tensor& weight) {
  return by_one_dnn(x) ? one_dnn_product(x, weight) : at::mm(x, weight.t());
}

at::Tensor multiply(const at::Tensor& x, const at::Tensor& weight) {
  return by_one_dnn(x) && !sums_are_long(x, weight) ? one_dnn_product(x, weight.t()) : at::mm(x, weight);
}

at::Tensor to_dtype(const at::Tensor& values, DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return values.to(at::kFloat);
    case DType::kBF16:
      return values.to(at::kBFloat16);
    case DType::kF64:
      return values.to(at::kDouble);
    case DType::kF16:
      return values.to(at::kHalf);
    default:
      fail(Fault::kUsage, "no arithmetic in dtype {}; use float32 or bfloat16", dormer::name_of(dtype));
  }
}

DType dtype_of(const at::Tensor& values) {
  switch (values.scalar_type()) {
    case at::kFloat:
      return DType::kF32;
    case at::kBFloat16:
      return DType::kBF16;
    case at::kDouble:
      return DType::kF64;
    case at::kHalf:
      return DType::kF16;
    case at::kLong:
      return DType::kI64;
    default:
      fail(Fault::kBug, "a tensor has an unexpected dtype: {}", static_cast<int>(values.scalar_type()));
  }
}

}  // namespace dormer::tensor
