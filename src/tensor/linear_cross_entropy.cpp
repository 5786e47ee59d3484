#include <algorithm>
#include <optional>
#include <vector>

#include <ATen/core/Tensor.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>

#include "dormer/core/error.hpp"
#include "dormer/tensor/differentiable.hpp"
#include "dormer/tensor/frozen_product.hpp"
#include "dormer/tensor/operations.hpp"
#include "element_dispatch.hpp"

namespace dormer::tensor {
namespace {

/// Rows of logits that exist at a time: what the products like, and fewer where the vocabulary is so large that they
/// would hold more than 16 Mi numbers. A function of the vocabulary alone, because the products' bits may depend on it.
std::int64_t chunk_rows(std::int64_t vocabulary) {
  constexpr std::int64_t kRows = 256;
  constexpr std::int64_t kMultiple = 16;
  constexpr std::int64_t kNumbers = std::int64_t{1} << 24;
  return std::clamp(kNumbers / vocabulary / kMultiple * kMultiple, kMultiple, kRows);
}

/// Losses of one chunk into `losses`; with `scale` the logits become their gradient.
void chunk_losses(const at::Tensor& logits, const at::Tensor& targets, const at::Tensor& losses,
                  std::optional<float> scale) {
  dispatch_element(logits, [&]<typename Element>(Element) {
    const kernels::CrossEntropyArguments<Element> arguments{data<Element>(logits), data<const std::int64_t>(targets),
                                                            data<float>(losses),   logits.size(1),
                                                            scale.has_value(),     scale.value_or(0.0F)};
    kernels_for(logits).run(arguments, logits.size(0));
  });
}

void soft_cap_gradient(const at::Tensor& capped, const at::Tensor& gradient, double cap) {
  dispatch_element(gradient, [&]<typename Element>(Element) {
    const kernels::SoftCapBackwardArguments<Element> arguments{data<const Element>(capped), data<Element>(gradient),
                                                               1.0F, static_cast<float>(cap)};
    kernels_for(gradient).run(arguments, gradient.numel());
  });
}

at::Tensor logits_of(const at::Tensor& x, const at::Tensor& head, const AddedRows& added) {
  const at::Tensor logits = multiply_transposed(x, head);
  return added.values == nullptr ? logits : at::cat({logits, multiply_transposed(x, *added.values)}, 1);
}

/// The gradient of x, and of the head's rows that train on the way.
at::Tensor logits_backward(const at::Tensor& gradient, const at::Tensor& x, const at::Tensor& head,
                           const AddedRows& added) {
  const at::Tensor frozen = gradient.narrow(1, 0, head.size(0)).contiguous();
  if (added.head_gradient != nullptr) {
    added.head_gradient->add_(multiply(frozen.t(), x));
  }
  if (added.values == nullptr) {
    return multiply(frozen, head);
  }
  const at::Tensor fresh = gradient.narrow(1, head.size(0), added.values->size(0)).contiguous();
  if (added.gradient != nullptr) {
    added.gradient->add_(multiply(fresh.t(), x));
  }
  return multiply(frozen, head).add_(multiply(fresh, *added.values));
}

/// Losses of rows [first, end), and with `gradient` theirs of the input.
struct PartArguments {
  const at::Tensor& input;
  const at::Tensor& head;
  const at::Tensor& targets;
  const AddedRows& added;
  double soft_cap = 0.0;
  at::Tensor losses;
  at::Tensor gradient;  ///< undefined: nobody asks
};

void compute_part(const PartArguments& all, std::int64_t first, std::int64_t end, float scale) {
  const std::int64_t chunk = chunk_rows(all.head.size(0));
  const bool wants_gradient = all.gradient.defined();
  for (; first < end; first += chunk) {
    const std::int64_t rows = std::min(chunk, end - first);
    const at::Tensor x = all.input.narrow(0, first, rows);
    const at::Tensor logits = logits_of(x, all.head, all.added);
    at::Tensor capped;
    if (all.soft_cap > 0.0) {
      soft_cap_(logits, all.soft_cap);
      capped = wants_gradient ? logits.clone() : at::Tensor();
    }
    chunk_losses(logits, all.targets.narrow(0, first, rows), all.losses.narrow(0, first, rows),
                 wants_gradient ? std::optional(scale) : std::nullopt);
    if (capped.defined()) {
      soft_cap_gradient(capped, logits, all.soft_cap);
    }
    if (wants_gradient) {
      all.gradient.narrow(0, first, rows).copy_(logits_backward(logits, x, all.head, all.added));
    }
  }
}

/// Adds the losses of each part's rows in their order. Waits for the device: the one copy to the host of a micro-batch.
std::vector<CrossEntropySums> host_sums(const at::Tensor& losses, const at::Tensor& targets,
                                        std::span<const CrossEntropyPart> parts) {
  const at::Tensor on_host = losses.cpu();
  const float* value = on_host.const_data_ptr<float>();
  const std::int64_t* wanted = targets.const_data_ptr<std::int64_t>();
  std::vector<CrossEntropySums> sums;
  for (const CrossEntropyPart& part : parts) {
    CrossEntropySums& sum = sums.emplace_back();
    for (std::int64_t row = 0; row < part.rows; ++row) {
      sum.loss_sum += static_cast<double>(*value++);
      sum.targets += *wanted++ >= 0 ? 1 : 0;
    }
  }
  return sums;
}

}  // namespace

std::vector<CrossEntropySums> linear_cross_entropy(const at::Tensor& hidden, const at::Tensor& head,
                                                   const at::Tensor& targets, std::span<const CrossEntropyPart> parts,
                                                   const CrossEntropyScale& how, const AddedRows& added) {
  const at::Tensor input = detached(hidden);
  const bool wants_gradient = how.backward && (hidden.requires_grad() || added.head_gradient != nullptr);
  const at::Tensor losses = at::empty({input.size(0)}, input.options().dtype(at::kFloat));
  at::Tensor gradient;
  if (wants_gradient) {
    gradient = at::empty(input.sizes(), input.options());
  }
  {
    const NoRecording guard;
    const at::Tensor own_targets = targets.to(input.device());
    const PartArguments arguments{input, head, own_targets, added, how.soft_cap, losses, gradient};
    std::int64_t first = 0;
    for (const CrossEntropyPart& part : parts) {
      compute_part(arguments, first, first + part.rows, static_cast<float>(1.0 / part.divisor));
      first += part.rows;
    }
    invariant(first == input.size(0), "parts of {} rows over {}", first, input.size(0));
  }
  if (wants_gradient && hidden.requires_grad()) {
    run_backward(hidden, gradient);
  }
  return host_sums(losses, targets, parts);
}

CrossEntropySums linear_cross_entropy(const at::Tensor& hidden, const at::Tensor& head, const at::Tensor& targets,
                                      const CrossEntropyScale& how, const AddedRows& added) {
  const CrossEntropyPart all{.rows = hidden.size(0), .divisor = how.divisor};
  return linear_cross_entropy(hidden, head, targets, std::span(&all, 1), how, added).front();
}

}  // namespace dormer::tensor
