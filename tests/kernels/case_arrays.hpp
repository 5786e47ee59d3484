#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <vector>

#include "dormer/core/random_key.hpp"
#include "dormer/kernels/element.hpp"
#include "kernels/operation_cases.hpp"

/// Seeded arrays in the memory of a case.
namespace dormer::kernels {

template <typename Element>
constexpr bool kHalf = std::is_same_v<Element, BFloat16>;

template <typename T>
struct Array {
  T* data = nullptr;
  std::int64_t count = 0;
};

template <typename T>
Array<T> placed(Memory& memory, const std::vector<T>& values) {
  return {static_cast<T*>(memory.copied_in(values.data(), values.size() * sizeof(T))), std::ssize(values)};
}

/// Uniform in (-scale, scale).
template <typename Element>
Array<Element> uniform(Memory& memory, std::int64_t count, std::uint64_t seed, float scale, float shift = 0.0F) {
  std::vector<Element> values(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < values.size(); ++i) {
    store(&values[i], shift + scale * (2.0F * to_uniform(philox(RandomKey{seed}, i)[0]) - 1.0F));
  }
  return placed(memory, values);
}

template <typename T>
Array<T> zeros(Memory& memory, std::int64_t count) {
  return placed(memory, std::vector<T>(static_cast<std::size_t>(count)));
}

template <typename T>
void read(Memory& memory, const Array<T>& array, std::vector<double>& into) {
  std::vector<T> values(static_cast<std::size_t>(array.count));
  memory.copy_out(values.data(), array.data, values.size() * sizeof(T));
  for (const T& value : values) {
    if constexpr (kHalf<T>) {
      into.push_back(load(&value));
    } else {
      into.push_back(static_cast<double>(value));
    }
  }
}

template <typename... Arrays>
std::vector<double> all_of(Memory& memory, const Arrays&... arrays) {
  std::vector<double> values;
  (read(memory, arrays, values), ...);
  return values;
}

}  // namespace dormer::kernels
