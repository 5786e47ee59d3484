#include <fstream>

#include <gmock/gmock.h>

#include "dormer/core/error.hpp"
#include "dormer/model/language_model.hpp"
#include "support/temp_directory.hpp"
#include "support/tiny_model.hpp"

namespace dormer::model {
namespace {

// What fails in the middle of building a layer must be told, not freed twice.
TEST(HostileFolders, ANormThatIsMissingOrOfAnotherShapeIsNamed) {
  const test::TempDirectory folder;
  test::write_tiny_model(folder.path());
  for (const auto& [type, wanted] :
       {std::pair("gemma2", "pre_feedforward_layernorm"), std::pair("qwen3", "self_attn.q_norm")}) {
    std::ofstream(folder.path() / "config.json")
        << R"({"model_type": ")" << type
        << R"(", "vocab_size": 256, "hidden_size": 64, "intermediate_size": 112, "num_hidden_layers": 2,)"
        << R"("num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "tie_word_embeddings": true})";
    try {
      static_cast<void>(load_language_model(folder.path(), DType::kF32));
      FAIL() << type;
    } catch (const Error& error) {
      EXPECT_EQ(error.fault(), Fault::kInput);
      EXPECT_THAT(error.what(), testing::HasSubstr(wanted));
    }
  }
}

}  // namespace
}  // namespace dormer::model
