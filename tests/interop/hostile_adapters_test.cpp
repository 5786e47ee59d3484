// Adapter files whose header is in order and whose content is not: an input fault each, in little time and memory.
#include <fstream>
#include <string>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "dormer/core/error.hpp"
#include "dormer/interop/adapter_format.hpp"
#include "support/adapter_file.hpp"
#include "support/temp_directory.hpp"

namespace dormer::interop {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

const std::string kLayer = "base_model.model.model.layers.0.self_attn.q_proj";

std::string repeated(const std::string& part, int times) {
  std::string result;
  for (int time = 0; time < times; ++time) {
    result += part;
  }
  return result;
}

class HostileAdapter : public ::testing::Test {
 protected:
  [[nodiscard]] std::filesystem::path path(const std::string& name) const { return folder_.path() / name; }
  void text(const std::string& name, const std::string& text) const { std::ofstream(path(name)) << text; }

  /// What reading says of a file, or of the folder for "".
  [[nodiscard]] std::string refusal(const std::string& name) const {
    try {
      static_cast<void>(read_adapter(name.empty() ? folder_.path() : path(name)));
    } catch (const Error& error) {
      EXPECT_EQ(error.fault(), Fault::kInput) << error.what();
      return error.what();
    }
    return "";
  }

  /// A PEFT folder with a LoRA of rank 2 and these further arrays.
  void peft(const std::string& config,
            const std::vector<std::pair<std::string, std::vector<std::int64_t>>>& more = {}) const {
    test::AdapterFile file(1);
    file.add(kLayer + ".lora_A.weight", {2, 4});
    file.add(kLayer + ".lora_B.weight", {6, 2});
    for (const auto& [name, shape] : more) {
      file.add(name, shape);
    }
    file.write(path("adapter_model.safetensors"));
    text("adapter_config.json", R"({"peft_type":"LORA","r":2,"lora_alpha":2)" + config + "}");
  }

 private:
  test::TempDirectory folder_;
};

TEST_F(HostileAdapter, TheFolderItselfIsRead) {
  peft("");
  EXPECT_EQ(refusal(""), "");
}

TEST_F(HostileAdapter, AWholeWeightWithoutAxesIsRefused) {
  peft(R"(,"modules_to_save":["lm_head"])",
       {{"base_model.model.lm_head.weight", {}}, {"base_model.model.lm_head.bias", {1}}});
  EXPECT_THAT(refusal(""), HasSubstr("lm_head"));
}

TEST_F(HostileAdapter, FactorsOfALokrThatSayItsRankTwiceAreRefused) {
  test::AdapterFile file(1);
  file.add(kLayer + ".lokr_w1", {2, 2});
  file.add(kLayer + ".lokr_w2", {3, 2});
  file.add(kLayer + ".lokr_w2_b", {});
  file.write(path("adapter_model.safetensors"));
  text("adapter_config.json", R"({"peft_type":"LOKR","r":2,"alpha":2})");
  EXPECT_THAT(refusal(""), HasSubstr("q_proj"));
}

TEST_F(HostileAdapter, HeadsThatAreNoWholeNumberAreRefused) {
  test::AdapterFile file(1);
  file.add("layers.3.attn.q_proj.lora_a.weight", {1, 8});
  file.add("layers.3.attn.q_proj.lora_b.weight", {8, 1});
  file.write(path("a.safetensors"));
  text("adapter_config.json", R"({"r": 1, "lora_alpha": 2})");
  for (const char* heads : {"0.5", "1e300", "\"2\"", "-2", "99999"}) {
    text("config.json", std::string(R"({"num_attention_heads": )") + heads + "}");
    EXPECT_THAT(refusal("a.safetensors"), HasSubstr("num_attention_heads")) << heads;
  }
}

// The library calls itself for every level when it copies or prints a value.
TEST_F(HostileAdapter, DeepTextsAreRefusedOrPassedOver) {
  const std::string deep = repeated("[", 200'000) + repeated("]", 200'000);
  peft(",\"rank_pattern\":" + deep);
  EXPECT_THAT(refusal(""), HasSubstr("64 levels"));

  test::AdapterFile flat(1);
  const std::string stem = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q";
  flat.add(stem + ".lora_down.weight", {2, 4});
  flat.add(stem + ".lora_up.weight", {6, 2});
  flat.write(path("kohya.safetensors"), {{"ss_network_args", "{\"wd_on_output\":" + deep + "}"}});
  EXPECT_EQ(refusal("kohya.safetensors"), "");  // what the metadata says is of no use, but the arrays are good

  test::AdapterFile dotted(1);
  dotted.add("unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.lora_A.weight", {2, 4});
  dotted.add("unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.lora_B.weight", {6, 2});
  dotted.write(path("diffusers.safetensors"), {{"lora_adapter_metadata", "{\"unet.r\":" + deep + "}"}});
  std::filesystem::remove(path("adapter_config.json"));
  EXPECT_THAT(refusal("diffusers.safetensors"), HasSubstr("64 levels"));

  test::AdapterFile tuned(1);
  tuned.add("layers.3.attn.q_proj.lora_a.weight", {1, 8});
  tuned.add("layers.3.attn.q_proj.lora_b.weight", {8, 1});
  tuned.write(path("torchtune.safetensors"));
  text("adapter_config.json", R"({"r": 1, "lora_alpha": 2})");
  text("config.json", R"({"num_attention_heads": )" + deep + "}");
  EXPECT_THAT(refusal("torchtune.safetensors"), HasSubstr("64 levels"));
}

TEST_F(HostileAdapter, PatternsCostLittleOrAreRefused) {
  peft(R"(,"rank_pattern":{"(.*a|.*e|.*_|.*.)*(.*a|.*e|.*_|.*.)*x+":4})");  // a backtracker would try for ever
  EXPECT_EQ(refusal(""), "");
  peft(",\"rank_pattern\":{\"" + repeated("(", 100'000) + repeated(")", 100'000) + "\":4}");
  EXPECT_THAT(refusal(""), HasSubstr("pattern"));
  peft(R"(,"rank_pattern":{"((a{0,999}){0,999}){0,999}":4})");
  EXPECT_THAT(refusal(""), AllOf(HasSubstr("pattern"), HasSubstr("{")));
  peft(R"(,"alpha_pattern":{"layers.[0-9]+.self_attn.(q|k)_proj":8})");
  EXPECT_EQ(read_adapter(path("")).layers.begin()->second.alpha, 8.0);
}

TEST_F(HostileAdapter, AConfigurationOfTooManyWordsIsRefused) {
  std::string members;
  for (int number = 0; number < 60'000; ++number) {
    members += fmt::format(",\"k{}\":0", number);
  }
  peft(members);
  EXPECT_THAT(refusal(""), HasSubstr("20000"));
}

}  // namespace
}  // namespace dormer::interop
