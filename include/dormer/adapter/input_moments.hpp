#pragma once

#include <cstdint>
#include <vector>

#include "dormer/tensor/forward.hpp"

namespace dormer::adapter {

/// What the rows that a layer was given vary by: count, sum, and the sum of their outer products. fp64 on the host,
/// because large means cancel and the parts of a few large channels stand beside those of all others.
class InputMoments {
 public:
  explicit InputMoments(std::int64_t width);
  /// Adds rows [n, width] of any dtype and device. The bits depend on the order of calls.
  void add(const at::Tensor& rows);
  [[nodiscard]] std::int64_t count() const { return count_; }

  /// The directions in which the rows vary most about their mean, those of the largest variance first: the leading
  /// right singular vectors of the centred rows, as of PEFT's IncrementalPCA. fp32 [rank, width] on the host with
  /// orthonormal rows, of which the largest element is positive; the sums are used up. Throws a numerical error for
  /// sums that are not finite.
  [[nodiscard]] at::Tensor take_directions(std::int64_t rank);

  /// Bytes of the sums of one input, and what `take_directions` works on besides.
  [[nodiscard]] static std::int64_t bytes(std::int64_t width);
  [[nodiscard]] static std::int64_t working_bytes(std::int64_t width);

 private:
  std::vector<at::Tensor> sums_;  // of outer products [width, width], and of rows [width]
  std::int64_t count_ = 0;
};

}  // namespace dormer::adapter
