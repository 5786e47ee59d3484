#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <ostream>
#include <string>
#include <vector>

#include "dormer/kernels/kernels.hpp"

namespace dormer::kernels {

/// Where the arrays of a case lie: on the host, or on a device.
class Memory {
 public:
  virtual ~Memory() = default;
  /// A copy of these bytes that lives as long as the memory.
  [[nodiscard]] virtual void* copied_in(const void* host, std::size_t bytes) = 0;
  /// Copies back, after everything that was asked before.
  virtual void copy_out(void* host, const void* from, std::size_t bytes) = 0;
};

class HostMemory final : public Memory {
 public:
  [[nodiscard]] void* copied_in(const void* host, std::size_t bytes) override;
  void copy_out(void* host, const void* from, std::size_t bytes) override;

 private:
  std::vector<std::vector<std::byte>> blocks_;
};

/// One call of one operation on seeded values of awkward sizes.
struct OperationCase {
  std::string name;
  bool half = false;       ///< whether results are bfloat16
  std::int64_t terms = 1;  ///< of the longest sum behind a result
  std::function<std::vector<double>(const Kernels&, Memory&)> results;
};

inline void PrintTo(const OperationCase& which, std::ostream* to) {
  *to << which.name;
}

/// At least one for every operation and element type.
[[nodiscard]] std::vector<OperationCase> operation_cases();

/// Those of optimizers.hpp, which `operation_cases` holds too.
void add_optimizer_cases(std::vector<OperationCase>& cases);

/// Largest excess of |actual - expected| over what rounding explains: one unit in the last place of the result's type,
/// and 8 * 2^-24 * sqrt(terms) of the results' root mean square (sums in another order). At most 1 is good.
[[nodiscard]] double rounding_excess(const OperationCase& which, const std::vector<double>& actual,
                                     const std::vector<double>& expected);

}  // namespace dormer::kernels
