#include "dormer/interop/peft.hpp"

#include <fstream>
#include <map>

#include <ATen/core/Tensor.h>
#include <ATen/ops/equal.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "dormer/core/atomic_file.hpp"
#include "dormer/core/error.hpp"
#include "dormer/interop/adapter_values.hpp"
#include "dormer/storage/safetensors.hpp"
#include "support/temp_directory.hpp"
#include "support/tensor_comparison.hpp"

namespace dormer::interop {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
namespace fs = std::filesystem;

struct Model {
  std::vector<adapter::FrozenLayer> layers;
  BaseFacts facts;

  Model() {
    const std::vector<std::tuple<std::string, std::int64_t, std::int64_t>> shapes{
        {"q_proj", 24, 20}, {"k_proj", 12, 20}, {"down_proj", 20, 30}};
    for (int block = 0; block < 2; ++block) {
      for (const auto& [name, out, in] : shapes) {
        adapter::FrozenLayer layer;
        const std::string path = fmt::format("model.layers.{}.part.{}", block, name);
        layer.site = {path, name == "down_proj" ? "mlp" : "attention", block, out, in, layers.size()};
        layer.weight = {path + ".weight", test::normal({out, in}, 71 + layers.size(), 0.3), nullptr, false};
        facts.linear_layers.push_back(path);
        layers.push_back(std::move(layer));
      }
    }
  }

  struct Settings {
    std::int64_t rank = 5;
    std::string alpha = "2*rank";
    bool decompose = true;
    std::vector<std::string> targets{"q_proj", "down_proj"};
  };
  /// With every parameter away from its start unless `seed` is 0.
  [[nodiscard]] adapter::AdapterSet adapters(const Settings& settings, std::uint64_t seed) const {
    adapter::AdapterConfig config;
    config.rank = settings.rank;
    config.alpha.text = settings.alpha;
    config.targets = settings.targets;
    if (settings.decompose) {
      config.decompose.emplace();
    }
    adapter::AdapterSet result(config, layers, RandomKey{5});
    for (const tensor::ParameterEntry& entry : result.space().entries()) {
      if (seed != 0) {
        tensor::FlatSpace::unpadded_part(result.space().values(), entry).add_(test::normal(entry.shape, seed++, 0.3));
      }
    }
    result.space().mark_written();
    result.refresh();
    return result;
  }
};

void write_peft(const adapter::AdapterSet& adapters, const fs::path& folder, const BaseFacts& base, DType dtype) {
  interop::write_peft(stored_from(adapters, base), folder, {.base = base, .dtype = dtype});
}

class Peft : public ::testing::Test {
 protected:
  static std::string message_of(const std::function<void()>& function) {
    try {
      function();
    } catch (const Error& error) {
      return fmt::format("{}: {}", error.exit_code(), error.what());
    }
    return "";
  }
  /// What loading the folder into a run with these settings says.
  [[nodiscard]] std::string loading(const Model::Settings& settings) const {
    return message_of([&] {
      adapter::AdapterSet adapters = model_.adapters(settings, 0);
      load_adapter_into(adapters, target_);
    });
  }
  void change_config(const std::function<void(nlohmann::json&)>& change) const {
    nlohmann::json config = nlohmann::json::parse(read_file(target_ / "adapter_config.json", "config"));
    change(config);
    write_file_atomically(target_ / "adapter_config.json", config.dump());
  }
  Model model_;
  test::TempDirectory folder_;
  fs::path target_ = folder_.path() / "peft";
};

TEST_F(Peft, WhatIsWrittenIsLoadedBitForBit) {
  for (const bool decompose : {false, true}) {
    const adapter::AdapterSet trained = model_.adapters({.decompose = decompose}, 80);
    write_peft(trained, target_, model_.facts, DType::kF32);
    adapter::AdapterSet loaded = model_.adapters({.decompose = decompose}, 0);
    const std::uint64_t before = loaded.space().generation();
    load_adapter_into(loaded, target_);
    EXPECT_TRUE(at::equal(loaded.space().values(), trained.space().values()));
    EXPECT_NE(loaded.space().generation(), before);
    for (const std::size_t site : trained.site_indices()) {
      EXPECT_EQ(trained.norm(site) != nullptr, decompose);
      EXPECT_TRUE(!decompose || at::equal(*loaded.norm(site), *trained.norm(site)));
    }
  }
}

TEST_F(Peft, TensorsHaveTheNamesShapesAndOrderOfPeft) {
  const adapter::AdapterSet adapters = model_.adapters({.targets = {"model.layers.1.part.k_proj"}}, 80);
  write_peft(adapters, target_, model_.facts, DType::kF32);
  const auto file = storage::SafetensorsFile::open(target_ / "adapter_model.safetensors");
  EXPECT_EQ(file->metadata(), (storage::Metadata{{"format", "pt"}}));
  std::map<std::string, std::vector<std::int64_t>> shapes;
  for (const storage::TensorEntry& entry : file->tensors()) {
    shapes[entry.name] = entry.shape;
  }
  const std::string prefix = "base_model.model.model.layers.1.part.k_proj.";
  EXPECT_EQ(shapes, (std::map<std::string, std::vector<std::int64_t>>{{prefix + "lora_A.weight", {5, 20}},
                                                                      {prefix + "lora_B.weight", {12, 5}},
                                                                      {prefix + "lora_magnitude_vector", {12}}}));
  const StoredLayer layer = read_peft(target_).layers.at("model.layers.1.part.k_proj");
  const at::Tensor b = adapters.space().value(adapters.space().index_of("model.layers.1.part.k_proj.lora_B"));
  EXPECT_EQ(layer.factors.at("lora_B").values[7 * 5 + 3], b.const_data_ptr<float>()[3 * 12 + 7])
      << "B is [out, rank] in the file";
  EXPECT_EQ(layer.scale, 2.0);
}

TEST_F(Peft, TheConfigurationCarriesTheNumbersAndNoPathOfThisMachine) {
  model_.facts.hub_id = "org/name";
  write_peft(model_.adapters({.alpha = "12"}, 80), target_, model_.facts, DType::kF32);
  const std::string text = read_file(target_ / "adapter_config.json", "config");
  EXPECT_THAT(text, AllOf(HasSubstr("\"lora_alpha\": 12,"), HasSubstr("\"r\": 5,"), HasSubstr("\"use_dora\": true"),
                          HasSubstr("\"use_rslora\": false"), HasSubstr("\"peft_type\": \"LORA\""),
                          HasSubstr("\"base_model_name_or_path\": \"org/name\"")));
  EXPECT_THAT(nlohmann::json::parse(text).at("target_modules"), ElementsAre("down_proj", "q_proj"));
  model_.facts.hub_id.reset();
  model_.facts.folder = folder_.path();
  write_peft(model_.adapters({.alpha = "2.5", .decompose = false}, 80), target_, model_.facts, DType::kF32);
  const std::string other = read_file(target_ / "adapter_config.json", "config");
  EXPECT_THAT(other, AllOf(HasSubstr("\"lora_alpha\": 2.5,"), HasSubstr("\"use_dora\": false"),
                           HasSubstr("\"base_model_name_or_path\": null")));
  EXPECT_EQ(other.find(folder_.path().string()), std::string::npos);
}

TEST(PeftTargets, AreShortWhereThatSelectsTheSameLayers) {
  const std::vector<std::string> all{"m.0.q", "m.0.k", "m.1.q", "m.1.k", "head"};
  const auto targets = [&](const std::vector<std::string>& chosen) { return peft_target_modules(chosen, all); };
  EXPECT_THAT(targets({"m.0.q", "m.1.q"}), ElementsAre("q"));
  EXPECT_THAT(targets({"m.1.q", "head", "m.0.q"}), ElementsAre("head", "q"));
  EXPECT_THAT(targets({"m.1.q"}), ElementsAre("m.1.q"));
  EXPECT_THAT(targets({"m.1.q", "m.0.k", "m.1.k"}), ElementsAre("m.0.k", "m.1.k", "m.1.q"));
}

TEST_F(Peft, OtherDtypesRoundOnce) {
  const adapter::AdapterSet trained = model_.adapters({}, 80);
  write_peft(trained, target_, model_.facts, DType::kBF16);
  adapter::AdapterSet loaded = model_.adapters({}, 0);
  load_adapter_into(loaded, target_);
  const at::Tensor rounded = trained.space().values().to(at::kBFloat16).to(at::kFloat);
  EXPECT_TRUE(at::equal(loaded.space().values(), rounded));
  EXPECT_THAT(message_of([&] { write_peft(trained, target_, model_.facts, DType::kF64); }),
              HasSubstr("2: export.dtype"));
}

TEST_F(Peft, ALoraStartsADecomposedRunAtItsOwnFunction) {
  write_peft(model_.adapters({.decompose = false}, 80), target_, model_.facts, DType::kF32);
  adapter::AdapterSet loaded = model_.adapters({.decompose = true}, 0);
  load_adapter_into(loaded, target_);
  for (std::size_t i = 0; i < loaded.site_indices().size(); ++i) {
    const at::Tensor magnitude = loaded.space().value(loaded.space().index_of(loaded.site_names()[i] + ".magnitude"));
    EXPECT_TRUE(at::equal(magnitude, *loaded.norm(loaded.site_indices()[i])));
  }
}

TEST_F(Peft, ScalesOfRsLoraAndPatternsAreUnderstood) {
  write_peft(model_.adapters({.alpha = "10"}, 80), target_, model_.facts, DType::kF32);
  change_config([](nlohmann::json& config) {
    config["use_rslora"] = true;
    config["lora_alpha"] = 3;
  });
  EXPECT_THAT(
      loading({.alpha = "10"}),
      AllOf(HasSubstr("2: "), HasSubstr("write adapter: {rank: 5, alpha: 6.708203932499369, rank_stabilized: false}")));
  EXPECT_EQ(loading({.alpha = "6.708203932499369"}), "");
  change_config([](nlohmann::json& config) {
    config["use_rslora"] = false;
    config["alpha_pattern"] = {{"q_proj", 10}, {"^model.layers.[01].part.down_proj", 10}};
  });
  EXPECT_EQ(loading({.alpha = "10"}), "");
  change_config([](nlohmann::json& config) { config["alpha_pattern"] = {{"layers.1.part.q_proj", 10}}; });
  EXPECT_THAT(loading({.alpha = "10"}), AllOf(HasSubstr("scales 'model.layers.0.part.q_proj' by 0.6"),
                                              HasSubstr("overrides: [{match: model.layers.0.part.q_proj")));
  change_config([](nlohmann::json& config) { config["rank_pattern"] = {{"q_proj", 7}}; });
  EXPECT_THAT(loading({.alpha = "10"}), AllOf(HasSubstr("3: "), HasSubstr("has the rank 5"), HasSubstr("says 7")));
}

TEST_F(Peft, WhatDoesNotFitTheRunIsNamedWithTheLineToWrite) {
  write_peft(model_.adapters({}, 80), target_, model_.facts, DType::kF32);
  EXPECT_THAT(loading({.rank = 4}), AllOf(HasSubstr("2: "), HasSubstr("{rank: 5, alpha: 10")));
  EXPECT_THAT(loading({.alpha = "rank"}), AllOf(HasSubstr("2: "), HasSubstr("alpha: 10, rank_stab")));
  EXPECT_THAT(loading({.decompose = false}), AllOf(HasSubstr("2: "), HasSubstr("decompose: {axis: output}")));
  EXPECT_THAT(loading({.targets = {"q_proj"}}),
              AllOf(HasSubstr("2: "), HasSubstr("does not train"), HasSubstr("[down_proj, q_proj]")));
  EXPECT_THAT(loading({.targets = {"all-linear"}}),
              AllOf(HasSubstr("2: "), HasSubstr("k_proj"), HasSubstr("[down_proj, q_proj]")));
  Model other;
  other.layers[0].site.in = 22;
  other.layers[0].weight = {"w", test::normal({24, 22}, 3), nullptr, false};
  EXPECT_THAT(message_of([&] {
                adapter::AdapterSet adapters = other.adapters({}, 0);
                load_adapter_into(adapters, target_);
              }),
              AllOf(HasSubstr("2: "), HasSubstr("another size")));
}

TEST_F(Peft, WhatWeDoNotComputeIsRefusedByName) {
  const auto with = [&](const char* key, const nlohmann::json& value) {
    write_peft(model_.adapters({}, 80), target_, model_.facts, DType::kF32);
    change_config([&](nlohmann::json& config) { config[key] = value; });
    return loading({});
  };
  EXPECT_THAT(with("peft_type", "LOHA"), AllOf(HasSubstr("3: "), HasSubstr("LOHA")));
  EXPECT_THAT(with("peft_type", "ADALORA"), AllOf(HasSubstr("3: "), HasSubstr("ADALORA")));
  EXPECT_THAT(with("fan_in_fan_out", true), HasSubstr("'fan_in_fan_out'"));
  EXPECT_THAT(with("modules_to_save", {"lm_head"}), HasSubstr("'lm_head' in modules_to_save"));
  EXPECT_THAT(with("lora_bias", true), HasSubstr("'lora_bias'"));
  EXPECT_THAT(with("bias", "some"), HasSubstr("3: ")) << "not a word of PEFT";
  EXPECT_THAT(with("init_lora_weights", "pissa_niter_4"), HasSubstr("pissa_niter_4"));
  EXPECT_THAT(with("r", "five"), HasSubstr("3: bad PEFT configuration"));
  EXPECT_THAT(with("use_dora", false), HasSubstr("magnitudes"));
  EXPECT_EQ(with("bias", "all"), "") << "of a model without biases";
  EXPECT_EQ(with("modules_to_save", nlohmann::json::array()), "");
  EXPECT_EQ(with("init_lora_weights", "gaussian"), "");
  EXPECT_EQ(with("layers_to_transform", {0, 1}), "");
}

TEST_F(Peft, ForeignTensorsAndMissingPartsAreNamed) {
  const std::vector<std::byte> data(400);
  const std::string prefix = "base_model.model.model.layers.0.part.q_proj.";
  const auto with = [&](const std::vector<storage::NamedArray>& arrays) {
    write_peft(model_.adapters({}, 80), target_, model_.facts, DType::kF32);
    storage::write_safetensors(target_ / "adapter_model.safetensors", arrays, {});
    return loading({});
  };
  const std::span<const std::byte> bytes(data);
  EXPECT_THAT(with({{prefix + "lora_embedding_A", DType::kF32, {5, 20}, bytes}}), HasSubstr("lacks lora_embedding_B"));
  EXPECT_THAT(with({{prefix + "lora_A.weight", DType::kF32, {5, 20}, bytes}}), HasSubstr("lacks lora_B"));
  EXPECT_THAT(with({{prefix + "lora_C.weight", DType::kF32, {5, 20}, bytes}}), HasSubstr("lora_C.weight"));
  EXPECT_THAT(with({{prefix + "hada_w1_a", DType::kF32, {5, 20}, bytes}}), HasSubstr("hada_w1_a"));
  EXPECT_THAT(with({{prefix + "lora_A.weight", DType::kI32, {5, 20}, bytes}}), HasSubstr("dtype I32"));
  EXPECT_THAT(with({}), HasSubstr("no tensors"));
  fs::remove(target_ / "adapter_model.safetensors");
  EXPECT_THAT(loading({}), AllOf(HasSubstr("3: "), HasSubstr("not found")));
  std::ofstream(target_ / "adapter_model.bin") << "x";
  EXPECT_THAT(loading({}), HasSubstr("pickled"));
  EXPECT_THAT(message_of([&] {
                adapter::AdapterSet adapters = model_.adapters({}, 0);
                load_adapter_into(adapters, folder_.path());
              }),
              AllOf(HasSubstr("3: "), HasSubstr("no form that we read"), HasSubstr("peft")));
}

TEST_F(Peft, MagnitudesWithTheLoadersSuffixAreReadToo) {
  const adapter::AdapterSet trained = model_.adapters({.targets = {"model.layers.0.part.q_proj"}}, 80);
  write_peft(trained, target_, model_.facts, DType::kF32);
  const fs::path path = target_ / "adapter_model.safetensors";
  const std::vector<std::byte> copy = [&] {
    const auto file = storage::SafetensorsFile::open(path);
    std::vector<storage::NamedArray> arrays;
    for (const storage::TensorEntry& entry : file->tensors()) {
      const bool magnitude = entry.name.ends_with("vector");
      arrays.push_back({entry.name + (magnitude ? ".weight" : ""), entry.dtype, entry.shape, file->bytes(entry)});
    }
    return storage::serialize_safetensors(arrays, {});
  }();
  write_file_atomically(path, copy);
  adapter::AdapterSet loaded = model_.adapters({.targets = {"model.layers.0.part.q_proj"}}, 0);
  load_adapter_into(loaded, target_);
  EXPECT_TRUE(at::equal(loaded.space().values(), trained.space().values()));
}

TEST_F(Peft, AFolderIsReplacedWholeAndStrangersAreLeftAlone) {
  std::ofstream(folder_.path() / "tokenizer.json") << "{}";
  std::ofstream(folder_.path() / "config.json") << "{}";
  model_.facts.folder = folder_.path();
  fs::create_directory(folder_.path() / ".tmp-peft");
  std::ofstream(folder_.path() / ".tmp-peft" / "left by a killed export") << "x";
  write_peft(model_.adapters({}, 80), target_, model_.facts, DType::kF32);
  std::ofstream(target_ / "of the older export") << "x";
  write_peft(model_.adapters({}, 90), target_ / "", model_.facts, DType::kF32);
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(target_)) {
    names.push_back(entry.path().filename().string());
  }
  EXPECT_THAT(names,
              ::testing::UnorderedElementsAre("adapter_config.json", "adapter_model.safetensors", "tokenizer.json"));
  EXPECT_FALSE(fs::exists(folder_.path() / ".tmp-peft"));

  const fs::path precious = folder_.path() / "precious";
  fs::create_directory(precious);
  std::ofstream(precious / "thesis.tex") << "x";
  EXPECT_THAT(message_of([&] { write_peft(model_.adapters({}, 80), precious, model_.facts, DType::kF32); }),
              AllOf(HasSubstr("2: "), HasSubstr("not replaced")));
  EXPECT_TRUE(fs::exists(precious / "thesis.tex"));
}

TEST_F(Peft, AFailedTrainingIsNotExported) {
  adapter::AdapterSet adapters = model_.adapters({}, 80);
  adapters.space().values().fill_(std::numeric_limits<float>::quiet_NaN());
  EXPECT_THAT(message_of([&] { write_peft(adapters, target_, model_.facts, DType::kF32); }), HasSubstr("not finite"));
  EXPECT_FALSE(fs::exists(target_));
}

}  // namespace
}  // namespace dormer::interop
