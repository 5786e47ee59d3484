#include <array>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>
#include <ATen/ops/cos.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/sin.h>

#include "dormer/core/error.hpp"
#include "dormer/model/family.hpp"
#include "dormer/tensor/base_loading.hpp"
#include "dormer/tensor/operations.hpp"
#include "llama_config.hpp"

namespace dormer::model::families {
namespace {

using adapter::FrozenLinear;
using adapter::Pack;
using tensor::BaseWeight;

/// Rotated keys and values per block, [batch*groups, length, width].
class LlamaCache final : public KeyValueCache {
 public:
  explicit LlamaCache(std::int64_t blocks)
      : keys(static_cast<std::size_t>(blocks)), values(static_cast<std::size_t>(blocks)) {}
  [[nodiscard]] std::int64_t length() const override { return keys.front().defined() ? keys.front().size(1) : 0; }

  std::vector<at::Tensor> keys;
  std::vector<at::Tensor> values;
};

/// The seven linear layers of a block, in the order in which they run.
enum Part : std::size_t { kQuery, kKey, kValue, kOutput, kGate, kUp, kDown, kParts };

struct Block {
  BaseWeight attention_norm;
  BaseWeight mlp_norm;
};

/// Llama (Touvron et al. 2023): pre-norm blocks of grouped-query attention with rotary embedding and SwiGLU.
class Llama final : public LanguageModel {
 public:
  Llama(LlamaConfig config, const storage::SafetensorsSet& files, DType dtype) : config_(std::move(config)) {
    facts_ = {"llama", config_.vocabulary, config_.hidden, config_.blocks, config_.maximum_positions,
              dtype,   config_.end_of_text};
    const std::array<std::int64_t, 2> table{config_.vocabulary, config_.hidden};
    embedding_ = tensor::load_base_weight(files, "model.embed_tokens.weight", table, dtype);
    for (std::int64_t block = 0; block < config_.blocks; ++block) {
      load_block(files, block, dtype);
    }
    norm_ = tensor::load_base_weight(files, "model.norm.weight", std::array{config_.hidden}, dtype);
    head_ = config_.tied_head ? embedding_ : tensor::load_base_weight(files, "lm_head.weight", table, dtype);
    frequencies_ = inverse_frequencies(config_.rotary, config_.head_width);
  }

  [[nodiscard]] const LanguageModelFacts& facts() const override { return facts_; }
  [[nodiscard]] std::span<const FrozenLinear> layers() const override { return layers_; }
  [[nodiscard]] const BaseWeight& head() const override { return head_; }
  [[nodiscard]] std::unique_ptr<KeyValueCache> make_cache() const override {
    return std::make_unique<LlamaCache>(config_.blocks);
  }

  [[nodiscard]] at::Tensor hidden_states(const at::Tensor& tokens, const Pack& pack,
                                         KeyValueCache* cache) const override {
    auto* past = static_cast<LlamaCache*>(cache);
    const std::int64_t first = past != nullptr ? past->length() : 0;
    const std::int64_t positions = tokens.size(1);
    require(first + positions <= config_.maximum_positions, Fault::kUsage,
            "a sequence of {} tokens is longer than the model's {} positions (max_position_embeddings)",
            first + positions, config_.maximum_positions);
    const at::Tensor angles = rotary_angles(frequencies_, first, positions);
    const at::Tensor cosine = at::cos(angles);
    const at::Tensor sine = at::sin(angles);
    const tensor::RotaryTable table{cosine, sine};
    at::Tensor x = at::index_select(embedding_.values(), 0, tokens.reshape({-1}));
    for (std::size_t block = 0; block < blocks_.size(); ++block) {
      x = tensor::add(x, attention(block, x, table, {tokens.size(0), positions}, pack, past));
      x = tensor::add(x, mlp(block, x, pack));
    }
    return tensor::rms_norm(x, norm_.values(), config_.epsilon);
  }

 private:
  void load_block(const storage::SafetensorsSet& files, std::int64_t block, DType dtype) {
    const std::string prefix = fmt::format("model.layers.{}.", block);
    const auto norm = [&](const char* name) {
      return tensor::load_base_weight(files, prefix + name + ".weight", std::array{config_.hidden}, dtype);
    };
    blocks_.push_back({norm("input_layernorm"), norm("post_attention_layernorm")});
    const std::int64_t query = config_.heads * config_.head_width;
    const std::int64_t key = config_.key_value_heads * config_.head_width;
    const auto linear = [&](const char* name, const char* group, std::int64_t out, std::int64_t in, bool bias) {
      FrozenLinear layer;
      layer.site = {prefix + name, group, block, out, in, layers_.size()};
      layer.weight = tensor::load_base_weight(files, layer.site.name + ".weight", std::array{out, in}, dtype);
      if (bias) {
        layer.bias = tensor::load_base_weight(files, layer.site.name + ".bias", std::array{out}, dtype);
      }
      layers_.push_back(std::move(layer));
    };
    linear("self_attn.q_proj", "attention", query, config_.hidden, config_.attention_bias);
    linear("self_attn.k_proj", "attention", key, config_.hidden, config_.attention_bias);
    linear("self_attn.v_proj", "attention", key, config_.hidden, config_.attention_bias);
    linear("self_attn.o_proj", "attention", config_.hidden, query, config_.attention_bias);
    linear("mlp.gate_proj", "mlp", config_.intermediate, config_.hidden, config_.mlp_bias);
    linear("mlp.up_proj", "mlp", config_.intermediate, config_.hidden, config_.mlp_bias);
    linear("mlp.down_proj", "mlp", config_.hidden, config_.intermediate, config_.mlp_bias);
  }

  [[nodiscard]] at::Tensor apply(std::size_t block, Part part, const at::Tensor& x, const Pack& pack) const {
    return adapter::adapted_linear(x, layers_[block * kParts + part], pack);
  }

  struct BatchShape {
    std::int64_t samples;
    std::int64_t positions;
  };

  [[nodiscard]] at::Tensor attention(std::size_t block, const at::Tensor& x, const tensor::RotaryTable& table,
                                     BatchShape batch, const Pack& pack, LlamaCache* past) const {
    const at::Tensor normed = tensor::rms_norm(x, blocks_[block].attention_norm.values(), config_.epsilon);
    const at::Tensor query = apply(block, kQuery, normed, pack);
    const at::Tensor key = apply(block, kKey, normed, pack);
    const at::Tensor value = apply(block, kValue, normed, pack);
    const tensor::AttentionShape shape{.batch = batch.samples,
                                       .positions = batch.positions,
                                       .groups = config_.key_value_heads,
                                       .heads_per_group = config_.heads / config_.key_value_heads,
                                       .width = config_.head_width,
                                       .scale = 1.0 / std::sqrt(static_cast<double>(config_.head_width))};
    const at::Tensor mixed = past == nullptr ? tensor::causal_attention(query, key, value, table, shape)
                                             : tensor::cached_attention(query, key, value, table, shape,
                                                                        past->keys[block], past->values[block]);
    return apply(block, kOutput, mixed, pack);
  }

  [[nodiscard]] at::Tensor mlp(std::size_t block, const at::Tensor& x, const Pack& pack) const {
    const at::Tensor normed = tensor::rms_norm(x, blocks_[block].mlp_norm.values(), config_.epsilon);
    const at::Tensor gate = apply(block, kGate, normed, pack);
    const at::Tensor up = apply(block, kUp, normed, pack);
    return apply(block, kDown, tensor::swiglu(gate, up), pack);
  }

  LlamaConfig config_;
  LanguageModelFacts facts_;
  BaseWeight embedding_;
  std::vector<Block> blocks_;
  std::vector<FrozenLinear> layers_;  // kParts per block
  BaseWeight norm_;
  BaseWeight head_;
  at::Tensor frequencies_;
};

}  // namespace

ModelFamily llama() {
  return {.doc = "Llama 2 and 3.x, SmolLM and others of the Llama architecture.",
          .model_types = {"llama"},
          .load = [](const std::filesystem::path& folder, const std::string& config_text,
                     DType dtype) -> std::unique_ptr<LanguageModel> {
            LlamaConfig config = parse_llama_config(config_text, (folder / "config.json").string());
            return std::make_unique<Llama>(std::move(config), storage::SafetensorsSet::open_folder(folder), dtype);
          }};
}

}  // namespace dormer::model::families
