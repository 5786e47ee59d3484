#include "dormer/tensor/weight_norms.hpp"

#include <algorithm>

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

#include "dormer/kernels/low_rank_norms.hpp"
#include "dormer/tensor/process.hpp"
#include "element_dispatch.hpp"

namespace dormer::tensor {
namespace {

template <typename Element>
kernels::LowRankNormsArguments<Element> arguments_of(const at::Tensor& weight, const LowRankFactors& change,
                                                     const at::Tensor& squares) {
  invariant(change.a.scalar_type() == weight.scalar_type() && change.b.scalar_type() == weight.scalar_type(),
            "factors are in another dtype than the weight");
  return {data<const Element>(weight),
          data<const Element>(change.a),
          data<const Element>(change.b),
          data<double>(squares),
          weight.size(0),
          weight.size(1),
          change.a.size(0),
          static_cast<float>(change.scale)};
}

/// A thread's part is worth its start from some 16 Ki products on.
std::int64_t grain_of(std::int64_t products_of_item) {
  return std::max<std::int64_t>(1, 16'384 / std::max<std::int64_t>(1, products_of_item));
}

}  // namespace

at::Tensor row_squares(const at::Tensor& weight, const LowRankFactors& change) {
  const at::Tensor squares = at::empty({weight.size(0)}, at::kDouble);
  dispatch_element(weight, [&]<typename Element>(Element) {
    const auto arguments = arguments_of<Element>(weight, change, squares);
    for_parts(arguments.rows, grain_of(arguments.width * arguments.rank), [&](std::int64_t begin, std::int64_t end) {
      kernels::sum_row_squares(arguments, {begin, end});
    });
  });
  return squares;
}

at::Tensor column_squares(const at::Tensor& weight, const LowRankFactors& change) {
  constexpr std::int64_t kColumns = 16;  // that the kernel takes at a time
  const at::Tensor squares = at::empty({weight.size(1)}, at::kDouble);
  dispatch_element(weight, [&]<typename Element>(Element) {
    const auto arguments = arguments_of<Element>(weight, change, squares);
    const std::int64_t groups = (arguments.width + kColumns - 1) / kColumns;
    for_parts(groups, grain_of(kColumns * arguments.rows * arguments.rank), [&](std::int64_t begin, std::int64_t end) {
      kernels::sum_column_squares(arguments, {begin * kColumns, std::min(end * kColumns, arguments.width)});
    });
  });
  return squares;
}

void norms_from_terms(const at::Tensor& base, const at::Tensor& cross, const at::Tensor& square, const at::Tensor& norm,
                      const at::Tensor& cancels) {
  const kernels::NormsFromTermsArguments arguments{data<const float>(base), data<const float>(cross),
                                                   data<const float>(square), data<float>(norm),
                                                   data<std::uint8_t>(cancels)};
  kernels_for(norm).run(arguments, norm.numel());
}

void cancelling_norms(const at::Tensor& weight, const LowRankFactors& change, const at::Tensor& cancels,
                      const at::Tensor& norm) {
  dispatch_element(weight, [&]<typename Element>(Element) {
    const kernels::CancellingNormsArguments<Element> arguments{data<const Element>(weight),
                                                               data<const float>(change.a),
                                                               data<const float>(change.b),
                                                               data<const std::uint8_t>(cancels),
                                                               data<float>(norm),
                                                               weight.size(0),
                                                               weight.size(1),
                                                               change.a.size(0),
                                                               static_cast<float>(change.scale)};
    kernels_for(norm).run(arguments, norm.numel());
  });
}

void magnitude_factors(const at::Tensor& magnitude, const at::Tensor& norm, const MagnitudeFactors& results) {
  const kernels::MagnitudeFactorsArguments arguments{
      data<const float>(magnitude), data<const float>(norm), data<float>(results.factor),
      data<float>(results.inverse_magnitude), data<float>(results.inverse_norm)};
  kernels_for(norm).run(arguments, norm.numel());
}

}  // namespace dormer::tensor
