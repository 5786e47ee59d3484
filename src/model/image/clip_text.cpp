#include "clip_text.hpp"

#include <array>
#include <optional>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include <ATen/core/Tensor.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/argmax.h>
#include <ATen/ops/index_select.h>

#include "dormer/core/error.hpp"
#include "dormer/tensor/operations.hpp"
#include "model/config_fields.hpp"
#include "model/image/part_config.hpp"

namespace dormer::model {
namespace {

struct ClipDescription {
  std::int64_t vocabulary = 0;
  std::int64_t width = 0;
  std::int64_t inner = 0;
  std::int64_t layers = 0;
  std::int64_t heads = 0;
  std::int64_t positions = 77;
  std::int64_t projection = 0;
  std::int64_t end_of_text = 0;
  double epsilon = 1e-5;
  tensor::Activation activation = tensor::Activation::kQuickGelu;
};

std::int64_t end_of_text(ConfigFields& fields, std::int64_t vocabulary) {
  constexpr std::int64_t kWrong = 2;  // in configs from before it was right; the vocabulary's last was meant
  const std::int64_t found = fields.size("eos_token_id", kWrong);
  return found == kWrong ? vocabulary - 1 : found;
}

ClipDescription describe(ConfigFields& fields) {
  ClipDescription clip;
  clip.vocabulary = fields.size("vocab_size", 49408);
  clip.width = fields.size("hidden_size", 512);
  clip.inner = fields.size("intermediate_size", 2048);
  clip.layers = fields.size("num_hidden_layers", 12);
  clip.heads = fields.size("num_attention_heads", 8);
  clip.positions = fields.size("max_position_embeddings", 77);
  clip.epsilon = fields.number("layer_norm_eps", 1e-5);
  clip.end_of_text = end_of_text(fields, clip.vocabulary);
  clip.projection = fields.size("projection_dim", 512);
  fields.refuse(clip.width % clip.heads != 0,
                fmt::format("hidden_size {} does not divide into {} heads", clip.width, clip.heads));
  const nlohmann::json function = fields.has("hidden_act") ? fields.object().at("hidden_act") : "quick_gelu";
  fields.refuse(function != "quick_gelu" && function != "gelu",
                fmt::format("hidden_act {} is not supported; known: quick_gelu, gelu", function.dump()));
  clip.activation = function == "gelu" ? tensor::Activation::kGelu : tensor::Activation::kQuickGelu;
  return clip;
}

struct ClipLayer {
  Norm attention_norm;
  std::size_t query = 0;
  std::size_t key = 0;
  std::size_t value = 0;
  std::size_t output = 0;
  Norm mlp_norm;
  std::size_t up = 0;
  std::size_t down = 0;
};

class ClipText final : public TextEncoder {
 public:
  ClipText(const ClipDescription& description, LayerBuilder builder, const std::string& part)
      : config_(description), layers_(builder.layers()) {
    // transformers 5 saves the text model without the name of the module around it.
    const bool nested = builder.has("text_model.final_layer_norm.weight");
    builder.set_file_prefix(nested ? "text_model." : "");
    builder.set_site_prefix("text_model.");
    token_table_ = builder.table({"embeddings.token_embedding", "embedding"}, config_.vocabulary, config_.width);
    position_table_ = builder.table({"embeddings.position_embedding", "embedding"}, config_.positions, config_.width);
    for (std::int64_t index = 0; index < config_.layers; ++index) {
      blocks_.push_back(load_layer(builder, index));
    }
    last_norm_ = builder.norm("final_layer_norm", config_.width, config_.epsilon);
    builder.set_file_prefix("");
    builder.set_site_prefix("");
    if (builder.has("text_projection.weight")) {
      projection_ = builder.linear({"text_projection", "projection"}, config_.projection, config_.width, false);
    }
    facts_ = {.part = part,
              .width = config_.width,
              .layers = config_.layers,
              .positions = config_.positions,
              .vocabulary = config_.vocabulary,
              .projection = projection_ ? config_.projection : 0,
              .end_of_text = config_.end_of_text,
              .compute_dtype = builder.placement().dtype};
  }

  [[nodiscard]] const TextEncoderFacts& facts() const override { return facts_; }

  [[nodiscard]] std::vector<at::Tensor> encode(const TextRequest& request, const adapter::Pack& pack) const override {
    const std::int64_t samples = request.tokens.size(0);
    const std::int64_t length = request.tokens.size(1);
    require(length <= config_.positions, Fault::kUsage, "a text of {} tokens is longer than the {} positions of {}",
            length, config_.positions, facts_.part);
    require(request.skipped_layers < config_.layers, Fault::kUsage, "{} has {} layers: {} of them cannot be skipped",
            facts_.part, config_.layers, request.skipped_layers);
    const at::Device device = (*layers_)[token_table_].weight.values().device();
    const at::Tensor tokens = request.tokens.to(device);
    const at::Tensor numbers = at::arange(length, tokens.options()).repeat({samples});
    at::Tensor x = tensor::add(on(token_table_, tokens.reshape({-1}), pack), on(position_table_, numbers, pack));
    const std::int64_t wanted = config_.layers - request.skipped_layers;
    at::Tensor states;
    const std::int64_t run = projection_ ? config_.layers : wanted;  // what follows serves the pooled state alone
    for (std::int64_t index = 0; index < run; ++index) {
      x = run_layer(blocks_[static_cast<std::size_t>(index)], x, samples, length, pack);
      if (index + 1 == wanted) {
        states = x;
      }
    }
    std::vector<at::Tensor> result{request.normed ? tensor::layer_norm(states, last_norm_.affine()) : states};
    result[0] = result[0].view({samples, length, config_.width});
    if (projection_) {
      result.push_back(pooled(tokens, x, pack));
    }
    return result;
  }

 private:
  [[nodiscard]] at::Tensor on(std::size_t place, const at::Tensor& x, const adapter::Pack& pack) const {
    return apply(*layers_, place, x, pack);
  }

  [[nodiscard]] at::Tensor pooled(const at::Tensor& tokens, const at::Tensor& last, const adapter::Pack& pack) const {
    const std::int64_t length = tokens.size(1);
    const at::Tensor ends = at::argmax(tokens.eq(config_.end_of_text).to(at::kInt), 1);  // the first of each text
    const at::Tensor rows = ends.add(at::arange(tokens.size(0), ends.options()).mul_(length));
    const at::Tensor chosen = at::index_select(last, 0, rows);
    return on(*projection_, tensor::layer_norm(chosen, last_norm_.affine()), pack);
  }

  [[nodiscard]] ClipLayer load_layer(LayerBuilder& builder, std::int64_t number) const {
    const std::string name = fmt::format("encoder.layers.{}.", number);
    const auto linear = [&](const char* part, const char* group, std::int64_t out, std::int64_t in) {
      return builder.linear({name + part, group, number}, out, in);
    };
    ClipLayer layer;
    layer.attention_norm = builder.norm(name + "layer_norm1", config_.width, config_.epsilon);
    layer.query = linear("self_attn.q_proj", "attention", config_.width, config_.width);
    layer.key = linear("self_attn.k_proj", "attention", config_.width, config_.width);
    layer.value = linear("self_attn.v_proj", "attention", config_.width, config_.width);
    layer.output = linear("self_attn.out_proj", "attention", config_.width, config_.width);
    layer.mlp_norm = builder.norm(name + "layer_norm2", config_.width, config_.epsilon);
    layer.up = linear("mlp.fc1", "mlp", config_.inner, config_.width);
    layer.down = linear("mlp.fc2", "mlp", config_.width, config_.inner);
    return layer;
  }

  [[nodiscard]] at::Tensor run_layer(const ClipLayer& layer, const at::Tensor& x, std::int64_t samples,
                                     std::int64_t length, const adapter::Pack& pack) const {
    const at::Tensor own = tensor::layer_norm(x, layer.attention_norm.affine());
    const at::Tensor mixed =
        tensor::attention(on(layer.query, own, pack), on(layer.key, own, pack), on(layer.value, own, pack),
                          {.batch = samples,
                           .queries = length,
                           .keys = length,
                           .heads = config_.heads,
                           .width = config_.width / config_.heads,
                           .causal = true});
    const at::Tensor middle = tensor::add(x, on(layer.output, mixed, pack));
    const at::Tensor inner = on(layer.up, tensor::layer_norm(middle, layer.mlp_norm.affine()), pack);
    return tensor::add(middle, on(layer.down, tensor::activation(inner, config_.activation), pack));
  }

  ClipDescription config_;
  std::shared_ptr<LayerList> layers_;
  TextEncoderFacts facts_;
  std::size_t token_table_ = 0;
  std::size_t position_table_ = 0;
  std::vector<ClipLayer> blocks_;
  Norm last_norm_;
  std::optional<std::size_t> projection_;
};

}  // namespace

std::unique_ptr<TextEncoder> load_clip_text(const std::filesystem::path& folder, const std::string& part,
                                            std::shared_ptr<LayerList> layers, const Placement& placement) {
  const PartConfig config(folder);
  ConfigFields fields(config.object());
  fields.refuse(!fields.has("model_type") || fields.object().at("model_type") != "clip_text_model",
                "model_type other than clip_text_model is not supported");
  const ClipDescription description = describe(fields);
  require_no_problems(fields, config.where());
  const storage::SafetensorsSet files = storage::SafetensorsSet::open_folder(folder);
  return std::make_unique<ClipText>(description, LayerBuilder(files, part, std::move(layers), placement), part);
}

}  // namespace dormer::model
