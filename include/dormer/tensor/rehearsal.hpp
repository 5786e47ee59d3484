#pragma once

#include <cstdint>
#include <memory>

#include "dormer/tensor/frozen_product.hpp"

namespace dormer::tensor {

/// LibTorch's device of tensors that have shapes and no numbers. A model loaded there reads no weights, and
/// `memory_use(TensorMemory::kShapes)` counts the bytes that its tensors would take.
inline constexpr const char* kShapesDevice = "meta";

/// While it lives, a run can be gone through on `kShapesDevice`: kernels compute nothing, on any device; operations
/// that LibTorch does not know there get their shapes; the number of places that a condition picks is the largest
/// possible; and every number that is copied to the host is 1. It is undone as a whole: nothing outlives it. One at a
/// time, on one thread, in a process that does not train meanwhile.
class Rehearsal {
 public:
  /// Frozen products take the temporaries of this path: a GPU's are plain.
  explicit Rehearsal(ProductPath products);
  ~Rehearsal();
  Rehearsal(const Rehearsal&) = delete;
  Rehearsal& operator=(const Rehearsal&) = delete;

  /// Copies from `kShapesDevice` to the host so far: on a GPU each waits for it.
  [[nodiscard]] std::int64_t copies_to_the_host() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace dormer::tensor
