#pragma once

#include <cmath>
#include <functional>
#include <map>
#include <numeric>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "dormer/core/error.hpp"
#include "dormer/core/random_key.hpp"
#include "dormer/interop/adapter_format.hpp"
#include "dormer/interop/consumer.hpp"
#include "dormer/storage/safetensors.hpp"
#include "kohya_adapters.hpp"
#include "support/temp_directory.hpp"

namespace dormer::interop::kohya_files {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Key;
using ::testing::Not;
namespace fs = std::filesystem;

class Kohya : public ::testing::Test {
 protected:
  using Arrays = std::map<std::string, StoredArray>;

  static std::string message_of(const std::function<void()>& function) {
    try {
      function();
    } catch (const Error& error) {
      return fmt::format("{}: {}", error.exit_code(), error.what());
    }
    return "";
  }

  [[nodiscard]] fs::path file() const { return folder_.path() / "one.safetensors"; }

  void put(const Arrays& arrays, const storage::Metadata& metadata = {}) const {
    std::vector<storage::NamedArray> named;
    for (const auto& [name, values] : arrays) {
      named.push_back({name, DType::kF32, values.shape, std::as_bytes(std::span(values.values))});
    }
    storage::write_safetensors(file(), named, metadata);
  }

  [[nodiscard]] StoredAdapter read(const std::string& form = "kohya", bool allow_partial = false) const {
    return adapter_formats().get("form", form).read(file(), {.allow_partial = allow_partial});
  }
  [[nodiscard]] std::string refusal(bool allow_partial = false) const {
    return message_of([&] { static_cast<void>(read("kohya", allow_partial)); });
  }

  void write(const StoredAdapter& adapter, const std::string& form = "kohya", DType dtype = DType::kF32,
             const FileText& text = {}) const {
    adapter_formats().get("form", form).write(adapter, file(), {.base = base_, .dtype = dtype, .text = text});
  }
  [[nodiscard]] std::string write_refusal(const StoredAdapter& adapter, const std::string& form = "kohya") const {
    return message_of([&] { write(adapter, form); });
  }

  /// One whole layer under a stem.
  static Arrays lora(const std::string& stem, bool with_alpha = true) {
    Arrays arrays{{stem + ".lora_down.weight", array({4, 20}, 1)}, {stem + ".lora_up.weight", array({24, 4}, 2)}};
    if (with_alpha) {
      arrays[stem + ".alpha"] = {.shape = {}, .values = {8.0F}};
    }
    return arrays;
  }
  static Arrays merged(Arrays first, const Arrays& second) {
    first.insert(second.begin(), second.end());
    return first;
  }

  static constexpr const char* kQ = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q";
  static constexpr const char* kV = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_v";
  static constexpr const char* kLayerQ = "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q";

  test::TempDirectory folder_;
  BaseFacts base_;
};

inline void expect_same(const StoredLayer& back, const StoredLayer& wanted, const std::string& name) {
  SCOPED_TRACE(name);
  EXPECT_EQ(back.kind, wanted.kind);
  EXPECT_EQ(back.rank, wanted.rank);
  EXPECT_EQ(back.scale, static_cast<double>(static_cast<float>(wanted.scale * static_cast<double>(wanted.rank))) /
                                static_cast<double>(std::max<std::int64_t>(wanted.rank, 1)) +
                            (wanted.rank == 0 ? 1.0 : 0.0));
  EXPECT_EQ(back.axis, wanted.axis);
  EXPECT_EQ(back.magnitude, wanted.magnitude);
  ASSERT_EQ(back.factors.size(), wanted.factors.size());
  for (const auto& [factor, values] : wanted.factors) {
    ASSERT_TRUE(back.factors.contains(factor)) << factor;
    EXPECT_EQ(back.factors.at(factor).shape, values.shape) << factor;
    EXPECT_EQ(back.factors.at(factor).values, values.values) << factor;
  }
}

}  // namespace dormer::interop::kohya_files
