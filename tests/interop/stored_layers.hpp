#pragma once

#include <cmath>
#include <cstdint>
#include <map>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "dormer/core/error.hpp"
#include "dormer/interop/stored_adapter.hpp"

/// Layers of adapter files with seeded values, and their changes computed densely.
namespace dormer::interop::test {

inline StoredArray normal(std::vector<std::int64_t> shape, std::uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> values;
  StoredArray result{.shape = std::move(shape), .values = {}};
  std::int64_t count = 1;
  for (const std::int64_t size : result.shape) {
    count *= size;
  }
  for (std::int64_t i = 0; i < count; ++i) {
    result.values.push_back(values(random));
  }
  return result;
}

inline StoredLayer lora(std::int64_t out, std::int64_t in, std::int64_t rank, double scale, std::uint32_t seed) {
  StoredLayer layer{.kind = "lora", .rank = rank, .alpha = scale * static_cast<double>(rank), .scale = scale};
  layer.factors["lora_A"] = normal({rank, in}, seed);
  layer.factors["lora_B"] = normal({out, rank}, seed + 1);
  return layer;
}

inline StoredLayer decomposed(StoredLayer layer, adapter::Axis axis, std::int64_t norms) {
  layer.axis = axis;
  for (std::int64_t i = 0; i < norms; ++i) {
    layer.magnitude.push_back(1.0F + static_cast<float>(i));
  }
  return layer;
}

/// Δ in fp64, row-major.
inline std::vector<double> change(const StoredLayer& layer) {
  if (layer.kind == "diff") {
    const auto& values = layer.factors.at("diff").values;
    return {values.begin(), values.end()};
  }
  const StoredArray& a = layer.factors.at("lora_A");
  const StoredArray& b = layer.factors.at("lora_B");
  std::vector<double> result;
  for (std::int64_t row = 0; row < b.shape[0]; ++row) {
    for (std::int64_t column = 0; column < a.shape[1]; ++column) {
      double sum = 0.0;
      for (std::int64_t k = 0; k < layer.rank; ++k) {
        sum += static_cast<double>(b.values.at(static_cast<std::size_t>(row * layer.rank + k))) *
               static_cast<double>(a.values.at(static_cast<std::size_t>(k * a.shape[1] + column)));
      }
      result.push_back(layer.scale * sum);
    }
  }
  return result;
}

inline std::vector<double> stacked(const std::vector<std::vector<double>>& parts) {
  std::vector<double> result;
  for (const auto& part : parts) {
    result.insert(result.end(), part.begin(), part.end());
  }
  return result;
}

/// Factors are moved as they are, but for one fp32 rounding of lora_B where scales are folded in: 2^-24 of each of the
/// rank's products, which are below 16 times 16 in these tests.
inline void expect_same(const std::vector<double>& seen, const std::vector<double>& wanted, double tolerance = 0.0) {
  ASSERT_EQ(seen.size(), wanted.size());
  for (std::size_t i = 0; i < seen.size(); ++i) {
    ASSERT_NEAR(seen[i], wanted[i], tolerance) << i;
  }
}

inline StoredAdapter adapter_of(std::map<std::string, StoredLayer> layers, ModelFamily family,
                                Naming naming = Naming::kHuggingFace) {
  return {.family = family, .naming = naming, .layers = std::move(layers)};
}

template <typename Action>
inline std::string usage_error(Action&& action) {
  try {
    action();
  } catch (const Error& error) {
    EXPECT_EQ(error.fault(), Fault::kUsage);
    return error.what();
  }
  return "no error";
}

}  // namespace dormer::interop::test
