#include <algorithm>
#include <fstream>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <nlohmann/json.hpp>

#include "support/adapter_file.hpp"
#include "support/program.hpp"
#include "support/tiny_model.hpp"

namespace dormer::cli {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

MATCHER(IsOneErrorLine, "is one line of an error") {
  return arg.starts_with("error: ") && std::count(arg.begin(), arg.end(), '\n') == 1 && arg.ends_with('\n');
}

constexpr const char* kLayer = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q";

class AdapterFiles : public testing::Test {
 protected:
  [[nodiscard]] test::ProgramResult dormer(const std::string& arguments) const {
    return test::run_program(DORMER_PROGRAM, arguments, folder_.path());
  }
  [[nodiscard]] std::filesystem::path path(const std::string& name) const { return folder_.path() / name; }

  /// A file of OneTrainer: one decomposed layer, and what `more` adds.
  template <typename More>
  void write_image_adapter(const More& more) const {
    test::AdapterFile file(1);
    file.add(std::string(kLayer) + ".lora_down.weight", {2, 5});
    file.add(std::string(kLayer) + ".lora_up.weight", {6, 2});
    file.add_number(std::string(kLayer) + ".alpha", 1.0F);
    file.add(std::string(kLayer) + ".dora_scale", {1, 5});
    more(file);
    file.write(path("image.safetensors"), {{"modelspec.title", "a teapot"}});
  }
  /// A file of torchtune for the tiny model's MLP, decomposed by output.
  void write_language_adapter(std::int64_t out = 112) const {
    test::write_tiny_model(path("model"));
    std::filesystem::create_directories(path("tune"));  // torchtune's configuration lies beside its file
    test::AdapterFile file(2);
    file.add("layers.0.mlp.w3.lora_a.weight", {2, 64});
    file.add("layers.0.mlp.w3.lora_b.weight", {out, 2});
    file.add("layers.0.mlp.w3.magnitude", {out});
    file.write(path("tune/language.safetensors"));
    std::ofstream(path("tune/adapter_config.json")) << R"({"r": 2, "lora_alpha": 4})";
  }

 private:
  test::TempDirectory folder_;
};

TEST_F(AdapterFiles, InspectTellsKindAxisRankScaleAndWhoComputesIt) {
  write_image_adapter([](test::AdapterFile& /*file*/) {});
  const test::ProgramResult result = dormer("inspect image.safetensors");
  EXPECT_EQ(result.exit_code, 0) << result.errors;
  EXPECT_THAT(result.output,
              AllOf(HasSubstr("an adapter in the form onetrainer: lora decomposed by input"), HasSubstr("a teapot"),
                    HasSubstr("[6, 5] lora of rank 2, alpha 1, scale 0.5, magnitudes by input, float32"),
                    HasSubstr("for onetrainer           exactly, as onetrainer"),
                    HasSubstr("for peft                 refused: ")));
}

TEST_F(AdapterFiles, InspectAsJson) {
  write_image_adapter([](test::AdapterFile& /*file*/) {});
  const nlohmann::json json = nlohmann::json::parse(dormer("inspect image.safetensors --json").output);
  EXPECT_EQ(json.at("format"), "dormer.adapter/1");
  EXPECT_EQ(json.at("layers").at(kLayer).at("axis"), "input");
  EXPECT_EQ(json.at("layers").at(kLayer).at("scale"), 0.5);
  EXPECT_EQ(json.at("consumers").at("onetrainer").at("exact"), true);
  EXPECT_EQ(json.at("consumers").at("peft").at("exact"), false);
}

TEST_F(AdapterFiles, InspectWarnsOfWhatReadersDoNotUnderstand) {
  write_image_adapter([](test::AdapterFile& file) {
    file.add("bundle_emb.teapot.clip_l", {2, 4});
    file.add("unet.conv_in.lora_down.weight", {2, 5, 3, 3});
    file.add("unet.conv_in.lora_up.weight", {6, 2, 1, 1});
  });
  EXPECT_THAT(dormer("inspect image.safetensors").output,
              AllOf(HasSubstr("warning: 1 of 2 layers have no alpha"),
                    HasSubstr("warning: 1 of 2 layers have magnitudes"), HasSubstr("bundle_emb.teapot.clip_l")));
}

TEST_F(AdapterFiles, BadInputIsOneLineAndNothingIsWritten) {
  write_language_adapter(113);
  write_image_adapter([](test::AdapterFile& file) { file.add("bundle_emb.teapot.clip_l", {2, 4}); });
  const std::vector<std::pair<std::string, int>> cases{
      {"absent.safetensors --for peft --output out", 2},
      {"image.safetensors --output out", 2},
      {"image.safetensors --for onetrainer", 2},
      {"image.safetensors --for nobody --output out.safetensors", 2},
      {"image.safetensors --for onetrainer --output out.safetensors --dtype int8", 2},
      {"image.safetensors --for onetrainer --output out.safetensors --set a.b=1", 2},
      {"image.safetensors --for onetrainer --output out.safetensors", 3},  // bundle_emb
      {"image.safetensors --for peft --output out --allow-partial", 2},    // the axis
      {"image.safetensors --for merged --output out --allow-partial", 2},  // no model
      {"image.safetensors --from torchtune --for onetrainer --output out.safetensors", 3},
      {"tune/language.safetensors --for peft --output out --model model", 3},  // 113 rows
      {"tune/language.safetensors --for vllm --output out", 2}};
  for (const auto& [arguments, code] : cases) {
    const test::ProgramResult result = dormer("export " + arguments);
    EXPECT_EQ(result.exit_code, code) << arguments << "\n" << result.errors;
    EXPECT_THAT(result.errors, IsOneErrorLine()) << arguments;
    EXPECT_THAT(result.output, IsEmpty()) << arguments;
  }
  for (const auto& entry : std::filesystem::directory_iterator(path("."))) {
    EXPECT_THAT(entry.path().filename().string(), Not(HasSubstr("out"))) << "left behind";
  }
}

TEST_F(AdapterFiles, ExportListsWhatItLeavesOut) {
  write_image_adapter([](test::AdapterFile& file) { file.add("bundle_emb.teapot.clip_l", {2, 4}); });
  const test::ProgramResult result =
      dormer("export image.safetensors --for onetrainer --output out.safetensors --allow-partial --title kettle");
  EXPECT_EQ(result.exit_code, 0) << result.errors;
  EXPECT_EQ(result.output, "out.safetensors\n");
  EXPECT_THAT(result.errors, AllOf(HasSubstr("left out: bundle_emb.teapot.clip_l"), HasSubstr("output axis")));
  EXPECT_THAT(dormer("inspect out.safetensors").output, HasSubstr("kettle"));
}

TEST_F(AdapterFiles, ExportConvertsWithoutTraining) {
  write_language_adapter();
  const test::ProgramResult result = dormer("export tune/language.safetensors --for peft --output out --model model");
  EXPECT_EQ(result.exit_code, 0) << result.errors;
  EXPECT_THAT(dormer("inspect out").output,
              HasSubstr("[112, 64] lora of rank 2, alpha 4, scale 2, magnitudes by output"));
}

/// Rank 64 holds all of a change of 64 columns; rank 4 does not, and says so.
TEST_F(AdapterFiles, AnApproximationTellsItsError) {
  write_language_adapter();
  const test::ProgramResult whole =
      dormer("export tune/language.safetensors --for peft --output whole --model model --approximate 64");
  EXPECT_EQ(whole.exit_code, 0) << whole.errors;
  EXPECT_THAT(whole.errors, HasSubstr("off by 0.00% of the whole change"));
  const test::ProgramResult part =
      dormer("export tune/language.safetensors --for peft --output part --model model --approximate 4");
  EXPECT_THAT(part.errors, Not(HasSubstr("off by 0.00%")));
  EXPECT_THAT(dormer("inspect part").output, Not(HasSubstr("magnitudes")));
  EXPECT_EQ(dormer("export tune/language.safetensors --for peft --output none --approximate 4").exit_code, 2);
}

}  // namespace
}  // namespace dormer::cli
