#include "decoder.hpp"

#include <array>
#include <string>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cos.h>
#include <ATen/ops/sin.h>
#include <ATen/ops/split_with_sizes.h>

#include "dormer/core/error.hpp"
#include "dormer/tensor/base_loading.hpp"
#include "dormer/tensor/differentiable.hpp"
#include "dormer/tensor/operations.hpp"

namespace dormer::model {
namespace {

using adapter::FrozenLayer;
using adapter::Pack;
using adapter::Site;
using tensor::BaseWeight;

/// Rotated keys and values per block, [batch*groups, length, width].
class DecoderCache final : public KeyValueCache {
 public:
  explicit DecoderCache(std::int64_t blocks)
      : keys(static_cast<std::size_t>(blocks)), values(static_cast<std::size_t>(blocks)) {}
  [[nodiscard]] std::int64_t length() const override { return keys.front().defined() ? keys.front().size(1) : 0; }

  std::vector<at::Tensor> keys;
  std::vector<at::Tensor> values;
};

/// Norms (fp32, offset added) and the places of the linear layers of one block. What a family lacks is undefined.
struct Block {
  at::Tensor attention_norm;
  at::Tensor attention_branch_norm;
  at::Tensor mlp_norm;
  at::Tensor mlp_branch_norm;
  at::Tensor query_norm;
  at::Tensor key_norm;
  std::vector<std::size_t> query_key_value;  // three layers, or one fused
  std::size_t output = 0;
  std::vector<std::size_t> gate_up;  // two layers, or one fused
  std::size_t down = 0;
};

/// Cosines and sines of the positions at hand.
struct Angles {
  at::Tensor cosine;
  at::Tensor sine;
};

struct BatchShape {
  std::int64_t samples;
  std::int64_t positions;
  at::Tensor document_begin;  // or undefined
};

/// Pre-norm blocks of grouped-query attention with rotary embedding and a gated MLP, as Touvron et al. 2023 and the
/// families that followed; see DecoderDescription for where they differ.
class Decoder final : public LanguageModel {
 public:
  Decoder(DecoderDescription description, const storage::SafetensorsSet& files, Placement placement)
      : config_(std::move(description)), placement_(std::move(placement)) {
    facts_ = {.family = config_.family,
              .vocabulary = config_.vocabulary,
              .hidden = config_.hidden,
              .blocks = config_.blocks,
              .maximum_positions = config_.maximum_positions,
              .compute_dtype = placement_.dtype,
              .logit_soft_cap = config_.logit_soft_cap,
              .end_of_text = config_.end_of_text};
    const std::array<std::int64_t, 2> table{config_.vocabulary, config_.hidden};
    embedding_ = load_weight(files, "model.embed_tokens.weight", table);
    for (std::int64_t block = 0; block < config_.blocks; ++block) {
      load_block(files, block);
    }
    norm_ = load_norm(files, "model.norm", config_.hidden);
    head_ = config_.tied_head ? embedding_ : load_weight(files, "lm_head.weight", table);
    for (const RotaryConfig& rotary : config_.rotaries) {
      frequencies_.push_back(inverse_frequencies(rotary, config_.head_width).to(at::Device(placement_.device)));
    }
  }

  [[nodiscard]] const LanguageModelFacts& facts() const override { return facts_; }
  [[nodiscard]] std::span<const FrozenLayer> layers() const override { return layers_; }
  [[nodiscard]] const BaseWeight& embedding() const override { return embedding_; }
  [[nodiscard]] const BaseWeight& head() const override { return head_; }
  [[nodiscard]] std::unique_ptr<KeyValueCache> make_cache() const override {
    return std::make_unique<DecoderCache>(config_.blocks);
  }

  [[nodiscard]] at::Tensor hidden_states(const ModelInput& input, const Pack& pack,
                                         KeyValueCache* cache) const override {
    auto* past = static_cast<DecoderCache*>(cache);
    const at::Device device(placement_.device);
    const BatchShape batch{input.tokens.size(0), input.tokens.size(1),
                           input.document_begin != nullptr ? input.document_begin->to(device) : at::Tensor()};
    const std::vector<Angles> angles = angles_of(past != nullptr ? past->length() : 0, batch);
    at::Tensor x = embed(input.tokens.to(device), pack);
    for (std::size_t index = 0; index < blocks_.size(); ++index) {
      if (input.recompute_blocks && past == nullptr) {
        x = tensor::recomputed(x, [this, index, angles, batch, pack](const at::Tensor& again) {
          return run_block(index, again, angles, batch, pack, nullptr);
        });
      } else {
        x = run_block(index, x, angles, batch, pack, past);
      }
    }
    return norm(x, norm_);
  }

 private:
  [[nodiscard]] BaseWeight load_weight(const storage::SafetensorsSet& files, const std::string& name,
                                       std::span<const std::int64_t> shape) const {
    return tensor::load_base_weight(files, name, shape, placement_.dtype, placement_.device);
  }

  [[nodiscard]] at::Tensor load_norm(const storage::SafetensorsSet& files, const std::string& name,
                                     std::int64_t width) const {
    // A copy: where the file has fp32, the values are its mapping, which may end with the loading.
    const BaseWeight weight =
        tensor::load_base_weight(files, name + ".weight", std::array{width}, DType::kF32, placement_.device);
    return weight.values().add(config_.norm_offset);
  }

  std::size_t add_layer(const storage::SafetensorsSet& files, Site site, bool bias) {
    FrozenLayer layer;
    layer.site = std::move(site);
    layer.site.index = layers_.size();
    const std::string& name = layer.site.name;
    layer.weight = load_weight(files, name + ".weight", std::array{layer.site.out, layer.site.in});
    if (bias) {
      layer.bias = load_weight(files, name + ".bias", std::array{layer.site.out});
    }
    layers_.push_back(std::move(layer));
    return layers_.size() - 1;
  }

  void load_block(const storage::SafetensorsSet& files, std::int64_t number) {
    const std::string prefix = fmt::format("model.layers.{}.", number);
    const auto linear = [&](const char* name, const char* group, std::int64_t out, std::int64_t in, bool bias) {
      return add_layer(files, {.name = prefix + name, .group = group, .layer = number, .out = out, .in = in}, bias);
    };
    const std::int64_t query = config_.heads * config_.head_width;
    const std::int64_t key = config_.key_value_heads * config_.head_width;
    const std::int64_t inner = config_.intermediate;
    const bool bias = config_.query_key_value_bias;
    Block block;
    if (config_.fused_projections) {
      block.query_key_value = {linear("self_attn.qkv_proj", "attention", query + 2 * key, config_.hidden, bias)};
    } else {
      block.query_key_value = {linear("self_attn.q_proj", "attention", query, config_.hidden, bias),
                               linear("self_attn.k_proj", "attention", key, config_.hidden, bias),
                               linear("self_attn.v_proj", "attention", key, config_.hidden, bias)};
    }
    block.output = linear("self_attn.o_proj", "attention", config_.hidden, query, config_.output_bias);
    if (config_.fused_projections) {
      block.gate_up = {linear("mlp.gate_up_proj", "mlp", 2 * inner, config_.hidden, config_.mlp_bias)};
    } else {
      block.gate_up = {linear("mlp.gate_proj", "mlp", inner, config_.hidden, config_.mlp_bias),
                       linear("mlp.up_proj", "mlp", inner, config_.hidden, config_.mlp_bias)};
    }
    block.down = linear("mlp.down_proj", "mlp", config_.hidden, inner, config_.mlp_bias);
    load_norms(files, prefix, block);
    blocks_.push_back(std::move(block));
  }

  void load_norms(const storage::SafetensorsSet& files, const std::string& prefix, Block& block) const {
    block.attention_norm = load_norm(files, prefix + "input_layernorm", config_.hidden);
    if (config_.branch_norms) {
      block.attention_branch_norm = load_norm(files, prefix + "post_attention_layernorm", config_.hidden);
      block.mlp_norm = load_norm(files, prefix + "pre_feedforward_layernorm", config_.hidden);
      block.mlp_branch_norm = load_norm(files, prefix + "post_feedforward_layernorm", config_.hidden);
    } else {
      block.mlp_norm = load_norm(files, prefix + "post_attention_layernorm", config_.hidden);
    }
    if (config_.query_key_norm) {
      block.query_norm = load_norm(files, prefix + "self_attn.q_norm", config_.head_width);
      block.key_norm = load_norm(files, prefix + "self_attn.k_norm", config_.head_width);
    }
  }

  [[nodiscard]] std::vector<Angles> angles_of(std::int64_t first, const BatchShape& batch) const {
    require(first + batch.positions <= config_.maximum_positions, Fault::kUsage,
            "a sequence of {} tokens is longer than the model's {} positions (max_position_embeddings)",
            first + batch.positions, config_.maximum_positions);
    at::Tensor numbers =
        at::arange(first, first + batch.positions, at::TensorOptions(at::kLong).device(at::Device(placement_.device)));
    if (batch.document_begin.defined()) {  // every document counts from 0
      numbers = numbers.sub(batch.document_begin).reshape({-1});
    }
    std::vector<Angles> result;
    for (const at::Tensor& frequencies : frequencies_) {
      const at::Tensor angles = rotary_angles(frequencies, numbers);
      result.push_back({at::cos(angles), at::sin(angles)});
    }
    return result;
  }

  [[nodiscard]] at::Tensor embed(const at::Tensor& tokens, const Pack& pack) const {
    const at::Tensor rows = adapter::adapted_embedding(tokens, embedding_, pack);
    if (config_.embedding_scale == 1.0) {
      return rows;
    }
    return rows.mul_(
        rows.new_full({}, config_.embedding_scale));  // the scale rounded to the rows' dtype, as transformers
  }

  [[nodiscard]] at::Tensor norm(const at::Tensor& x, const at::Tensor& weight) const {
    return tensor::rms_norm(x, weight, config_.epsilon);
  }

  [[nodiscard]] at::Tensor optional_norm(const at::Tensor& x, const at::Tensor& weight) const {
    return weight.defined() ? norm(x, weight) : x;
  }

  /// RMSNorm of every head of x [rows, heads*width].
  [[nodiscard]] at::Tensor norm_of_heads(const at::Tensor& x, const at::Tensor& weight) const {
    return weight.defined() ? norm(x.view({-1, config_.head_width}), weight).view(x.sizes()) : x;
  }

  [[nodiscard]] at::Tensor apply(std::size_t layer, const at::Tensor& x, const Pack& pack) const {
    return adapter::apply_layer(x, layers_[layer], pack);
  }

  /// The outputs of several layers on x, or the parts (of these widths) of one fused layer's output.
  [[nodiscard]] std::vector<at::Tensor> apply_all(const std::vector<std::size_t>& layers, const at::Tensor& x,
                                                  at::IntArrayRef widths, const Pack& pack) const {
    std::vector<at::Tensor> results;
    if (layers.size() == widths.size()) {
      for (const std::size_t layer : layers) {
        results.push_back(apply(layer, x, pack));
      }
      return results;
    }
    for (const at::Tensor& part : at::split_with_sizes(apply(layers.front(), x, pack), widths, 1)) {
      results.push_back(part.contiguous());
    }
    return results;
  }

  [[nodiscard]] at::Tensor run_block(std::size_t index, const at::Tensor& x, const std::vector<Angles>& angles,
                                     const BatchShape& batch, const Pack& pack, DecoderCache* past) const {
    const Block& parts = blocks_[index];
    at::Tensor branch = attention(index, norm(x, parts.attention_norm), angles, batch, pack, past);
    const at::Tensor middle = tensor::add(x, optional_norm(branch, parts.attention_branch_norm));
    branch = mlp(parts, norm(middle, parts.mlp_norm), pack);
    return tensor::add(middle, optional_norm(branch, parts.mlp_branch_norm));
  }

  [[nodiscard]] at::Tensor attention(std::size_t block, const at::Tensor& x, const std::vector<Angles>& angles,
                                     const BatchShape& batch, const Pack& pack, DecoderCache* past) const {
    const Block& parts = blocks_[block];
    const std::int64_t key_width = config_.key_value_heads * config_.head_width;
    const std::array<std::int64_t, 3> widths{config_.heads * config_.head_width, key_width, key_width};
    const std::vector<at::Tensor> projected = apply_all(parts.query_key_value, x, widths, pack);
    const at::Tensor query = norm_of_heads(projected[0], parts.query_norm);
    const at::Tensor key = norm_of_heads(projected[1], parts.key_norm);
    const tensor::AttentionShape shape{.batch = batch.samples,
                                       .positions = batch.positions,
                                       .groups = config_.key_value_heads,
                                       .heads_per_group = config_.heads / config_.key_value_heads,
                                       .width = config_.head_width,
                                       .scale = config_.attention_scale,
                                       .soft_cap = config_.attention_soft_cap,
                                       .window = config_.windows[block]};
    const Angles& turns = angles[config_.rotary_of_block[block]];
    const tensor::RotaryTable table{turns.cosine, turns.sine,
                                    batch.document_begin.defined() ? &batch.document_begin : nullptr};
    const at::Tensor mixed = past == nullptr ? tensor::causal_attention(query, key, projected[2], table, shape)
                                             : tensor::cached_attention(query, key, projected[2], table, shape,
                                                                        past->keys[block], past->values[block]);
    return apply(parts.output, mixed, pack);
  }

  [[nodiscard]] at::Tensor mlp(const Block& block, const at::Tensor& x, const Pack& pack) const {
    const std::array<std::int64_t, 2> widths{config_.intermediate, config_.intermediate};
    const std::vector<at::Tensor> projected = apply_all(block.gate_up, x, widths, pack);
    return apply(block.down, tensor::gated_unit(projected[0], projected[1], config_.gate), pack);
  }

  DecoderDescription config_;
  Placement placement_;
  LanguageModelFacts facts_;
  BaseWeight embedding_;
  std::vector<Block> blocks_;
  std::vector<FrozenLayer> layers_;
  at::Tensor norm_;
  BaseWeight head_;
  std::vector<at::Tensor> frequencies_;  // per rotary embedding
};

}  // namespace

std::unique_ptr<LanguageModel> load_decoder(DecoderDescription description, const std::filesystem::path& folder,
                                            const Placement& placement) {
  return std::make_unique<Decoder>(std::move(description), storage::SafetensorsSet::open_folder(folder), placement);
}

DecoderDescription describe_decoder(const std::function<DecoderDescription(ConfigFields&)>& describe,
                                    const std::string& config_text, std::string_view where) {
  const nlohmann::json object = nlohmann::json::parse(config_text, nullptr, false);
  require(object.is_object(), Fault::kInput, "{} is not a JSON object", where);
  ConfigFields fields(object);
  DecoderDescription decoder = describe(fields);
  require_no_problems(fields, where);
  return decoder;
}

ModelFamily decoder_family(std::string_view doc, std::vector<std::string> model_types,
                           std::function<DecoderDescription(ConfigFields&)> describe) {
  return {.doc = doc,
          .model_types = std::move(model_types),
          .load = [describe = std::move(describe)](const std::filesystem::path& folder, const std::string& config_text,
                                                   const Placement& placement) {
            return load_decoder(describe_decoder(describe, config_text, (folder / "config.json").string()), folder,
                                placement);
          }};
}

}  // namespace dormer::model
