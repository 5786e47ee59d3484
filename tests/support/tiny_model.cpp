#include "support/tiny_model.hpp"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "dormer/core/atomic_file.hpp"
#include "dormer/core/random_key.hpp"
#include "dormer/data/tokenizer_identity.hpp"
#include "dormer/storage/safetensors.hpp"
#include "support/token_file.hpp"

namespace dormer::test {
namespace {

/// Random arrays that stay where they are until the file is written.
class Weights {
 public:
  explicit Weights(RandomKey key) : key_(key) {}

  void add(const std::string& name, const std::vector<std::int64_t>& shape) {
    std::int64_t count = 1;
    for (const std::int64_t size : shape) {
      count *= size;
    }
    const bool norm = shape.size() == 1;  // scales of a norm stay near 1
    const float deviation = norm ? 0.1F : 1.0F / std::sqrt(static_cast<float>(shape.back()));
    std::vector<float> values(static_cast<std::size_t>(count));
    const RandomKey key = key_.child(name);
    for (std::size_t i = 0; i < values.size(); ++i) {
      const float uniform = to_uniform(philox(key, i)[0]) * 2.0F - 1.0F;
      values[i] = (norm ? 1.0F : 0.0F) + uniform * deviation * 1.7F;
    }
    arrays_.push_back({name, shape, std::move(values)});
  }

  void write(const std::filesystem::path& file) const {
    std::vector<storage::NamedArray> named;
    for (const Array& array : arrays_) {
      named.push_back({array.name, DType::kF32, array.shape, std::as_bytes(std::span(array.values))});
    }
    storage::write_safetensors(file, named, {{"format", "pt"}});
  }

 private:
  struct Array {
    std::string name;
    std::vector<std::int64_t> shape;
    std::vector<float> values;
  };
  RandomKey key_;
  std::vector<Array> arrays_{};
};

std::string configuration(const TinyModel& model) {
  return fmt::format(
      R"({{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": {}, "hidden_size": {}, "intermediate_size": {},
"num_hidden_layers": {}, "num_attention_heads": {}, "num_key_value_heads": {}, "max_position_embeddings": {}, "rms_norm_eps": 1e-05,
"rope_theta": 10000.0, "hidden_act": "silu", "tie_word_embeddings": {}, "bos_token_id": 1, "eos_token_id": 0, "torch_dtype": "float32"}})",
      model.vocabulary, model.hidden, model.intermediate, model.blocks, model.heads, model.key_value_heads,
      model.maximum_positions, model.tied);
}

}  // namespace

std::string tiny_tokenizer(std::int64_t vocabulary) {
  std::string entries;
  for (std::int64_t id = 0; id < vocabulary; ++id) {
    entries += fmt::format("{}\"t{}\": {}", id > 0 ? ", " : "", id, id);
  }
  return fmt::format(
      R"({{"version": "1.0", "added_tokens": [], "model": {{"type": "BPE", "vocab": {{{}}}, "merges": []}}}})",
      entries);
}

void write_tiny_model(const std::filesystem::path& folder, const TinyModel& model) {
  std::filesystem::create_directories(folder);
  write_file_atomically(folder / "config.json", configuration(model));
  write_file_atomically(folder / "tokenizer.json", tiny_tokenizer(model.vocabulary));
  const std::int64_t width = model.hidden / model.heads;
  Weights weights(RandomKey{model.seed});
  weights.add("model.embed_tokens.weight", {model.vocabulary, model.hidden});
  for (std::int64_t block = 0; block < model.blocks; ++block) {
    const std::string prefix = fmt::format("model.layers.{}.", block);
    weights.add(prefix + "input_layernorm.weight", {model.hidden});
    weights.add(prefix + "post_attention_layernorm.weight", {model.hidden});
    weights.add(prefix + "self_attn.q_proj.weight", {model.heads * width, model.hidden});
    weights.add(prefix + "self_attn.k_proj.weight", {model.key_value_heads * width, model.hidden});
    weights.add(prefix + "self_attn.v_proj.weight", {model.key_value_heads * width, model.hidden});
    weights.add(prefix + "self_attn.o_proj.weight", {model.hidden, model.heads * width});
    weights.add(prefix + "mlp.gate_proj.weight", {model.intermediate, model.hidden});
    weights.add(prefix + "mlp.up_proj.weight", {model.intermediate, model.hidden});
    weights.add(prefix + "mlp.down_proj.weight", {model.hidden, model.intermediate});
  }
  weights.add("model.norm.weight", {model.hidden});
  if (!model.tied) {
    weights.add("lm_head.weight", {model.vocabulary, model.hidden});
  }
  weights.write(folder / "model.safetensors");
}

void write_tiny_tokens(const std::filesystem::path& file, std::int64_t tokens, std::uint64_t seed,
                       std::int64_t vocabulary) {
  TokenFile contents;
  contents.vocab_size = vocabulary;
  contents.tokenizer_sha256 = data::tokenizer_sha256(tiny_tokenizer(vocabulary), "tiny tokenizer");
  std::int64_t token = 0;
  for (std::int64_t i = 0; i < tokens; ++i) {
    token = (token + 1 + philox(RandomKey{seed}, static_cast<std::uint64_t>(i))[0] % 4) %
            std::min<std::int64_t>(vocabulary, 24);
    contents.tokens.push_back(static_cast<std::uint32_t>(token));
  }
  std::filesystem::create_directories(file.parent_path());
  write_token_file(file, contents);
}

}  // namespace dormer::test
