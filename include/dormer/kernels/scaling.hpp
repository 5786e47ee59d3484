#pragma once

#include <cstdint>

#include "dormer/kernels/element.hpp"
#include "dormer/kernels/rows.hpp"

/// Factors of the columns of matrices and of the channels of images, and what passes back through them. As in rows.hpp.
namespace dormer::kernels {

/// y[t,o] = y[t,o] * factor[o] + bias[o], in place; `bias` may be null.
template <typename Element>
struct ScaleColumnsArguments {
  Element* y;           // [rows, width]
  const float* factor;  // [width]
  const Element* bias;  // [width] or null
  std::int64_t width;
};
void compute_range(const ScaleColumnsArguments<float>& arguments, Range rows);
void compute_range(const ScaleColumnsArguments<BFloat16>& arguments, Range rows);

/// For a range of columns: scaled[t,o] = gradient[t,o] * factor[o] and product_sums[o] = sum over t of
/// gradient[t,o] * (y[t,o] - bias[o]), in blocks of 64 rows. The range is of columns: sums over rows stay in one
/// thread.
template <typename Element>
struct ScaleColumnsBackwardArguments {
  const Element* gradient;  // [rows, width]
  const Element* y;         // [rows, width]: what the magnitude's gradient multiplies
  const Element* bias;      // [width] or null
  const float* factor;      // [width]
  Element* scaled;          // [rows, width], may be the gradient
  float* product_sums;      // [width]
  std::int64_t rows;
  std::int64_t width;
};
void compute_range(const ScaleColumnsBackwardArguments<float>& arguments, Range columns);
void compute_range(const ScaleColumnsBackwardArguments<BFloat16>& arguments, Range columns);

/// The same where the rows are the channels of samples: y[t,i] = y[t,i] * factor[t % channels] + bias[t % channels].
template <typename Element>
struct ScaleRowsArguments {
  Element* y;           // [samples * channels, width]
  const float* factor;  // [channels]
  const Element* bias;  // [channels] or null
  std::int64_t channels;
  std::int64_t width;
};
void compute_range(const ScaleRowsArguments<float>& arguments, Range rows);
void compute_range(const ScaleRowsArguments<BFloat16>& arguments, Range rows);

/// For a range of rows: scaled[t,i] = gradient[t,i] * factor[t % channels] and row_sums[t] = sum over i of
/// gradient[t,i] * (y[t,i] - bias[t % channels]), fp32 lanes over blocks, blocks added in fp64.
template <typename Element>
struct ScaleRowsBackwardArguments {
  const Element* gradient;  // [samples * channels, width]
  const Element* y;         // [samples * channels, width]
  const Element* bias;      // [channels] or null
  const float* factor;      // [channels]
  Element* scaled;          // [samples * channels, width], may be the gradient
  float* row_sums;          // [samples * channels]
  std::int64_t channels;
  std::int64_t width;
};
void compute_range(const ScaleRowsBackwardArguments<float>& arguments, Range rows);
void compute_range(const ScaleRowsBackwardArguments<BFloat16>& arguments, Range rows);

}  // namespace dormer::kernels
