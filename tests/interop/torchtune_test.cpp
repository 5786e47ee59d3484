#include <fstream>
#include <string>
#include <vector>

#include <gmock/gmock.h>

#include "dormer/core/error.hpp"
#include "dormer/interop/adapter_format.hpp"
#include "support/adapter_file.hpp"
#include "support/program.hpp"

namespace dormer::interop {
namespace {

using testing::ElementsAreArray;
using testing::HasSubstr;

/// Two heads of width 4: torchtune's rows of a head are 0, 2, 1, 3 in transformers' order, since there the first half
/// of a head is turned with the second, and here every row with its neighbour.
class TorchtuneFile : public testing::Test {
 protected:
  TorchtuneFile() {
    test::AdapterFile file(1);
    file.add("layers.3.attn.q_proj.lora_a.weight", {1, 8});
    file.add_values("layers.3.attn.q_proj.lora_b.weight", {8, 1}, rows());
    file.add_values("layers.3.attn.q_proj.magnitude", {8}, rows());
    file.add("layers.3.mlp.w3.lora_a.weight", {1, 8});
    file.add_values("layers.3.mlp.w3.lora_b.weight", {8, 1}, rows());
    file.add_values("layers.3.mlp.w3.magnitude", {8}, rows());
    file.write(path("adapter.safetensors"));
  }
  static std::vector<float> rows() { return {0, 1, 2, 3, 4, 5, 6, 7}; }
  [[nodiscard]] std::filesystem::path path(const std::string& name) const { return directory_.path() / name; }
  void write(const std::string& name, const std::string& text) const { std::ofstream(path(name)) << text; }

 private:
  test::TempDirectory directory_;
};

TEST_F(TorchtuneFile, IsReadWithTheRowsThatTransformersHas) {
  write("adapter_config.json", R"({"r": 1, "lora_alpha": 2})");
  write("config.json", R"({"num_attention_heads": 2})");
  EXPECT_EQ(format_of(path("adapter.safetensors")), "torchtune");
  const StoredAdapter adapter = read_adapter(path("adapter.safetensors"));
  const StoredLayer& query = adapter.layers.at("model.layers.3.self_attn.q_proj");
  EXPECT_EQ(query.scale, 2.0);
  EXPECT_EQ(query.axis, adapter::Axis::kOutput);
  const std::vector<float> turned{0, 2, 1, 3, 4, 6, 5, 7};
  EXPECT_THAT(query.factors.at("lora_B").values, ElementsAreArray(turned));
  EXPECT_THAT(query.magnitude, ElementsAreArray(turned));
  EXPECT_THAT(adapter.layers.at("model.layers.3.mlp.up_proj").magnitude, ElementsAreArray(rows()));
}

TEST_F(TorchtuneFile, NeedsAlphaAndHeadsBesideIt) {
  const auto refusal = [&] {
    try {
      static_cast<void>(read_adapter(path("adapter.safetensors")));
    } catch (const Error& error) {
      EXPECT_EQ(error.fault(), Fault::kInput);
      return std::string(error.what());
    }
    return std::string();
  };
  EXPECT_THAT(refusal(), HasSubstr("adapter_config.json"));
  write("adapter_config.json", R"({"r": 1, "lora_alpha": 2})");
  EXPECT_THAT(refusal(), HasSubstr("config.json beside it, for the number of heads"));
}

}  // namespace
}  // namespace dormer::interop
