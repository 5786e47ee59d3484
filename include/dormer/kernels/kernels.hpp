#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "dormer/kernels/operation_list.hpp"

/// Every operation of rows.hpp and updates.hpp behind one interface: host loops, GPU launches, or the GPU's arithmetic
/// on the host. The type of the arguments names the operation.
namespace dormer::kernels {

/// Declares one virtual `run` for each type of arguments.
template <typename List>
class Operations;

template <>
class Operations<OperationList<>> {
 public:
  virtual ~Operations() = default;
  void run() = delete;
};

template <typename First, typename... Rest>
class Operations<OperationList<First, Rest...>> : public Operations<OperationList<Rest...>> {
 public:
  using Operations<OperationList<Rest...>>::run;
  virtual void run(const First& arguments, std::int64_t count) const = 0;
};

/// `run(arguments, count)` computes items 0 to count - 1: rows, columns, blocks or elements, as the arguments say. On a
/// GPU it returns at once, and the pointers are the device's. On a host several threads may run operations at once.
class Kernels : public Operations<EveryOperation> {};

/// Implements every operation by `Derived::compute(arguments, count) const`, a template or overloads.
template <typename Derived, typename List = EveryOperation>
class ComputedBy;

template <typename Derived>
class ComputedBy<Derived, OperationList<>> : public Kernels {};

template <typename Derived, typename First, typename... Rest>
class ComputedBy<Derived, OperationList<First, Rest...>> : public ComputedBy<Derived, OperationList<Rest...>> {
 public:
  using ComputedBy<Derived, OperationList<Rest...>>::run;
  void run(const First& arguments, std::int64_t count) const final {
    static_cast<const Derived*>(this)->compute(arguments, count);
  }
};

/// Calls `body(begin, end)` on disjoint parts of [0, count), from several threads perhaps, parts at least `grain` long.
using ForParts = void (*)(std::int64_t count, std::int64_t grain,
                          const std::function<void(std::int64_t, std::int64_t)>& body);

/// The vectorized loops of this room, shared among threads by `for_parts`.
[[nodiscard]] std::unique_ptr<Kernels> host_loops(ForParts for_parts);

/// The arithmetic of the GPU launches on the host, item after item, every row by simulated lanes: what tests and dry
/// runs compare with. Slow.
[[nodiscard]] std::unique_ptr<Kernels> functor_loops();

}  // namespace dormer::kernels
