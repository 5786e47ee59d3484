#include "decoder.hpp"

#include <algorithm>
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
#include "dormer/core/json_extent.hpp"
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

/// A norm's weight, fp32 with the offset added, and its place among the layers. What a family lacks is undefined.
struct Norm {
  at::Tensor weight;
  std::size_t layer = 0;
};

/// Norms and the places of the linear layers of one block.
struct Block {
  Norm attention_norm;
  Norm attention_branch_norm;
  Norm mlp_norm;
  Norm mlp_branch_norm;
  Norm query_norm;
  Norm key_norm;
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
    add_table("model.embed_tokens", "embedding", adapter::LayerForm::kEmbedding, embedding_);
    for (std::int64_t block = 0; block < config_.blocks; ++block) {
      load_block(files, block);
    }
    norm_ = load_norm(files, "model.norm", config_.hidden, -1);
    head_ = config_.tied_head ? embedding_ : load_weight(files, "lm_head.weight", table);
    add_table("lm_head", "head", adapter::LayerForm::kHead, head_);
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
    return norm(x, norm_, pack);
  }

 private:
  [[nodiscard]] BaseWeight load_weight(const storage::SafetensorsSet& files, const std::string& name,
                                       std::span<const std::int64_t> shape) const {
    return tensor::load_base_weight(files, name, shape, placement_.dtype, placement_.device);
  }

  Norm load_norm(const storage::SafetensorsSet& files, const std::string& name, std::int64_t width,
                 std::int64_t block) {
    // "Site" is written out: GCC 12 destroys an inner aggregate without a name twice where a later member throws.
    FrozenLayer layer{
        .site = Site{.name = name,
                     .group = "norm",
                     .layer = block,
                     .out = width,
                     .in = 1,
                     .index = layers_.size(),
                     .form = adapter::LayerForm::kNorm,
                     .normalization = {config_.epsilon, config_.norm_offset}},
        .weight = tensor::load_base_weight(files, name + ".weight", std::array{width}, DType::kF32, placement_.device),
        .bias = {}};
    const at::Tensor weight = layer.weight.values().add(config_.norm_offset);
    layers_.push_back(std::move(layer));
    return {weight, layers_.size() - 1};
  }

  /// A table of one row for every token.
  void add_table(const char* name, const char* group, adapter::LayerForm form, const BaseWeight& weight) {
    const bool head = form == adapter::LayerForm::kHead;
    layers_.push_back({.site = {.name = name,
                                .group = group,
                                .out = head ? config_.vocabulary : config_.hidden,
                                .in = head ? config_.hidden : config_.vocabulary,
                                .index = layers_.size(),
                                .form = form},
                       .weight = weight,
                       .bias = {}});
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
    load_norms(files, prefix, number, block);
    blocks_.push_back(std::move(block));
  }

  void load_norms(const storage::SafetensorsSet& files, const std::string& prefix, std::int64_t number, Block& block) {
    const auto load = [&](const char* name, std::int64_t width) {
      return load_norm(files, prefix + name, width, number);
    };
    block.attention_norm = load("input_layernorm", config_.hidden);
    if (config_.branch_norms) {
      block.attention_branch_norm = load("post_attention_layernorm", config_.hidden);
      block.mlp_norm = load("pre_feedforward_layernorm", config_.hidden);
      block.mlp_branch_norm = load("post_feedforward_layernorm", config_.hidden);
    } else {
      block.mlp_norm = load("post_attention_layernorm", config_.hidden);
    }
    if (config_.query_key_norm) {
      block.query_norm = load("self_attn.q_norm", config_.head_width);
      block.key_norm = load("self_attn.k_norm", config_.head_width);
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
    const at::Tensor rows = pack.added_tokens() != nullptr
                                ? adapter::adapted_embedding(tokens, embedding_, pack)
                                : adapter::apply_layer(tokens.reshape({-1}), layers_.front(), pack);
    if (config_.embedding_scale == 1.0) {
      return rows;
    }
    // Rounded to the rows' dtype, as transformers does. A decomposed table has kept its rows for the backward pass.
    const at::Tensor scale = rows.new_full({}, config_.embedding_scale);
    return rows.requires_grad() ? rows.mul(scale) : rows.mul_(scale);
  }

  [[nodiscard]] at::Tensor norm(const at::Tensor& x, const Norm& part, const Pack& pack) const {
    const bool trains = std::ranges::any_of(pack.segments, [&](const adapter::Segment& segment) {
      return segment.adapters != nullptr && segment.adapters->find(part.layer) != nullptr;
    });
    return trains ? apply(part.layer, x, pack) : tensor::rms_norm(x, part.weight, config_.epsilon);
  }

  [[nodiscard]] at::Tensor optional_norm(const at::Tensor& x, const Norm& part, const Pack& pack) const {
    return part.weight.defined() ? norm(x, part, pack) : x;
  }

  /// RMSNorm of every head of x [rows, heads*width].
  [[nodiscard]] at::Tensor norm_of_heads(const at::Tensor& x, const Norm& part, const Pack& pack) const {
    return part.weight.defined() ? norm(x.view({-1, config_.head_width}), part, pack).view(x.sizes()) : x;
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
    at::Tensor branch = attention(index, norm(x, parts.attention_norm, pack), angles, batch, pack, past);
    const at::Tensor middle = tensor::add(x, optional_norm(branch, parts.attention_branch_norm, pack));
    branch = mlp(parts, norm(middle, parts.mlp_norm, pack), pack);
    return tensor::add(middle, optional_norm(branch, parts.mlp_branch_norm, pack));
  }

  [[nodiscard]] at::Tensor attention(std::size_t block, const at::Tensor& x, const std::vector<Angles>& angles,
                                     const BatchShape& batch, const Pack& pack, DecoderCache* past) const {
    const Block& parts = blocks_[block];
    const std::int64_t key_width = config_.key_value_heads * config_.head_width;
    const std::array<std::int64_t, 3> widths{config_.heads * config_.head_width, key_width, key_width};
    const std::vector<at::Tensor> projected = apply_all(parts.query_key_value, x, widths, pack);
    const at::Tensor query = norm_of_heads(projected[0], parts.query_norm, pack);
    const at::Tensor key = norm_of_heads(projected[1], parts.key_norm, pack);
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
  Norm norm_;
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
  require_shallow_json(config_text, where);
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
