#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "dormer/tensor/forward.hpp"

namespace dormer::tensor {

/// One frozen array of the base model, in the compute dtype. Where the file has that dtype the memory is the file's own
/// mapping, read-only and shared by the ranks of a machine; otherwise it is a private copy.
class BaseWeight {
 public:
  BaseWeight() = default;
  /// Takes any contiguous tensor; `owner` keeps foreign memory alive.
  BaseWeight(std::string name, const at::Tensor& values, std::shared_ptr<const void> owner, bool mapped);

  [[nodiscard]] const std::string& name() const;
  [[nodiscard]] const at::Tensor& values() const;  ///< [out, in] for linear layers
  [[nodiscard]] std::int64_t rows() const;
  [[nodiscard]] std::int64_t columns() const;
  [[nodiscard]] std::string device() const;  ///< as LibTorch writes it: "cpu", "cuda:0"
  [[nodiscard]] bool mapped() const;
  [[nodiscard]] bool defined() const;
  /// fp32 [values.size(0)]: the sum of squares of every row, computed once and kept (a property of the frozen base).
  [[nodiscard]] const at::Tensor& squared_row_norms() const;
  /// fp32 [values.size(1)]: the same over everything but the second axis.
  [[nodiscard]] const at::Tensor& squared_column_norms() const;

 private:
  struct State;
  std::shared_ptr<State> state_;  // shared: sites, tied heads and adapters name the same frozen array
};

}  // namespace dormer::tensor
