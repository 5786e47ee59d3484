#include "dormer/tensor/weight_norms.hpp"

#include <algorithm>
#include <vector>

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/sum.h>

#include "dormer/kernels/low_rank_norms.hpp"
#include "dormer/kernels/low_rank_terms.hpp"
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

/// Columns go to threads in groups of so many: what the kernels take at a time, and a line of the cache.
constexpr std::int64_t kColumns = 32;

template <typename Body>
void for_rows(const at::Tensor& weight, std::int64_t rank, const Body& body) {
  for_parts(weight.size(0), grain_of(weight.size(1) * rank), [&](std::int64_t begin, std::int64_t end) {
    body(kernels::Range{begin, end});
  });
}

template <typename Body>
void for_columns(const at::Tensor& weight, std::int64_t rank, const Body& body) {
  const std::int64_t width = weight.size(1);
  for_parts((width + kColumns - 1) / kColumns, grain_of(kColumns * weight.size(0) * rank),
            [&](std::int64_t begin, std::int64_t end) {
              body(kernels::Range{begin * kColumns, std::min(end * kColumns, width)});
            });
}

at::Tensor row_squares_from_elements(const at::Tensor& weight, const LowRankFactors& change) {
  const at::Tensor squares = at::empty({weight.size(0)}, at::kDouble);
  dispatch_element(weight, [&]<typename Element>(Element) {
    const auto arguments = arguments_of<Element>(weight, change, squares);
    for_rows(weight, arguments.rank, [&](kernels::Range rows) { kernels::sum_row_squares(arguments, rows); });
  });
  return squares;
}

at::Tensor column_squares_from_elements(const at::Tensor& weight, const LowRankFactors& change) {
  const at::Tensor squares = at::empty({weight.size(1)}, at::kDouble);
  dispatch_element(weight, [&]<typename Element>(Element) {
    const auto arguments = arguments_of<Element>(weight, change, squares);
    for_columns(weight, std::max<std::int64_t>(arguments.rank, 1),
                [&](kernels::Range columns) { kernels::sum_column_squares(arguments, columns); });
  });
  return squares;
}

/// See kernels/low_rank_terms.hpp; fp64.
struct Terms {
  at::Tensor change;
  at::Tensor size;
};

kernels::LowRankTermsArguments terms_of(const at::Tensor& weight, const LowRankFactors& change, const Terms& terms) {
  invariant(change.scale == 1.0, "factors in bfloat16 hold their scale");
  return {data<const kernels::BFloat16>(weight),
          data<const kernels::BFloat16>(change.a),
          data<const kernels::BFloat16>(change.b),
          data<double>(terms.change),
          data<double>(terms.size),
          weight.size(0),
          weight.size(1),
          change.a.size(0)};
}

Terms row_terms(const at::Tensor& weight, const LowRankFactors& change) {
  Terms terms{at::empty({weight.size(0)}, at::kDouble), at::empty({weight.size(0)}, at::kDouble)};
  const kernels::LowRankTermsArguments arguments = terms_of(weight, change, terms);
  const kernels::FactorPanel panel(arguments.a, arguments.rank, arguments.width);
  for_rows(weight, arguments.rank, [&](kernels::Range rows) { kernels::low_rank_row_terms(arguments, panel, rows); });
  return terms;
}

Terms column_terms(const at::Tensor& weight, const LowRankFactors& change) {
  Terms terms{at::empty({weight.size(1)}, at::kDouble), at::empty({weight.size(1)}, at::kDouble)};
  const kernels::LowRankTermsArguments arguments = terms_of(weight, change, terms);
  const kernels::FactorPanel panel(arguments.b, arguments.rank, arguments.rows);
  for_columns(weight, arguments.rank,
              [&](kernels::Range columns) { kernels::low_rank_column_terms(arguments, panel, columns); });
  return terms;
}

at::Tensor summed_taps(const at::Tensor& columns, std::int64_t taps) {
  return taps == 1 ? columns : at::sum(columns.view({-1, taps}), {1});
}

/// base + change; those in which too much has cancelled, from elements.
template <typename FromElements>
at::Tensor squares_from_terms(const at::Tensor& base, const Terms& terms, const FromElements& from_elements) {
  const at::Tensor squares = at::empty_like(terms.change);
  const float* frozen = data<const float>(base);
  const double* change = data<const double>(terms.change);
  const double* size = data<const double>(terms.size);
  double* square = data<double>(squares);
  std::vector<std::int64_t> cancelled;
  for (std::int64_t i = 0; i < squares.numel(); ++i) {
    const double parts = static_cast<double>(frozen[i]) + size[i];
    square[i] = static_cast<double>(frozen[i]) + change[i];
    if (!(square[i] >= kernels::NormsFromTermsArguments::kCancellation * parts)) {
      cancelled.push_back(i);
    }
  }
  if (!cancelled.empty()) {
    const at::Tensor elements = from_elements();
    for (const std::int64_t i : cancelled) {
      square[i] = data<const double>(elements)[i];
    }
  }
  return squares;
}

}  // namespace

at::Tensor row_squares(const at::Tensor& weight, const LowRankFactors& change, const FrozenSquares& base) {
  if (weight.scalar_type() != at::kBFloat16) {
    return row_squares_from_elements(weight, change);
  }
  return squares_from_terms(base(), row_terms(weight, change),
                            [&] { return row_squares_from_elements(weight, change); });
}

at::Tensor column_squares(const at::Tensor& weight, const LowRankFactors& change, const FrozenSquares& base,
                          std::int64_t taps) {
  if (weight.scalar_type() != at::kBFloat16) {
    return summed_taps(column_squares_from_elements(weight, change), taps);
  }
  const Terms terms = column_terms(weight, change);
  return squares_from_terms(base(), {summed_taps(terms.change, taps), summed_taps(terms.size, taps)},
                            [&] { return summed_taps(column_squares_from_elements(weight, change), taps); });
}

at::Tensor frozen_column_squares(const at::Tensor& weight, std::int64_t taps) {
  const at::Tensor none_across = at::empty({0, weight.size(1)}, weight.options());
  const at::Tensor none_down = at::empty({0, weight.size(0)}, weight.options());
  return summed_taps(column_squares_from_elements(weight, {none_across, none_down}), taps);
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
