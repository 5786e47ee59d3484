#include <algorithm>
#include <array>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include <ATen/core/Tensor.h>
#include <ATen/ops/add.h>
#include <ATen/ops/constant_pad_nd.h>

#include "dormer/core/error.hpp"
#include "dormer/tensor/image_operations.hpp"
#include "dormer/tensor/operations.hpp"
#include "model/image/denoiser_family.hpp"
#include "model/image/joint_transformer.hpp"
#include "model/image/timestep.hpp"

namespace dormer::model::denoisers {
namespace {

constexpr std::int64_t kTimeWaves = 256;
constexpr std::int64_t kMostBlocks = 256;
constexpr std::int64_t kEmptyTokens = 256;  // of T5, as diffusers' pipeline fills them where it is absent

struct Sd3Description {
  std::int64_t patch = 2;
  std::int64_t in_channels = 16;
  std::int64_t out_channels = 16;
  std::int64_t blocks = 0;
  std::int64_t heads = 0;
  std::int64_t head_width = 64;
  std::int64_t text_width = 4096;
  std::int64_t pooled_width = 2048;
  std::int64_t most_positions = 96;  ///< along a side
  bool head_norms = false;
  std::vector<bool> dual;  ///< of each block
  [[nodiscard]] std::int64_t width() const { return heads * head_width; }
};

Sd3Description describe_sd3(ConfigFields& fields) {
  Sd3Description sd3;
  sd3.patch = fields.size("patch_size", 2);
  sd3.in_channels = fields.size("in_channels", 16);
  sd3.out_channels = fields.size("out_channels", sd3.in_channels);
  sd3.blocks = std::min(fields.size("num_layers", 18), kMostBlocks);
  sd3.heads = fields.size("num_attention_heads", 18);
  sd3.head_width = fields.size("attention_head_dim", 64);
  sd3.text_width = fields.size("joint_attention_dim", 4096);
  sd3.pooled_width = fields.size("pooled_projection_dim", 2048);
  sd3.most_positions = fields.size("pos_embed_max_size", 96);
  fields.refuse(fields.size("caption_projection_dim", 1152) != sd3.width(),
                fmt::format("caption_projection_dim must be the width, {}", sd3.width()));
  sd3.dual.assign(static_cast<std::size_t>(sd3.blocks), false);
  if (fields.has("dual_attention_layers")) {
    const nlohmann::json& layers = fields.object().at("dual_attention_layers");
    for (const nlohmann::json& layer : layers) {
      const bool good = layer.is_number_integer() && layer >= 0 && layer < sd3.blocks;
      fields.refuse(!good, fmt::format("dual_attention_layers: {} is no block", layer.dump()));
      if (good) {
        sd3.dual[layer.get<std::size_t>()] = true;
      }
    }
  }
  if (fields.has("qk_norm")) {
    const nlohmann::json& norm = fields.object().at("qk_norm");
    fields.refuse(norm != "rms_norm", fmt::format("qk_norm {} is not supported; known: rms_norm", norm.dump()));
    sd3.head_norms = true;
  }
  return sd3;
}

/// SD3Transformer2DModel of diffusers: Stable Diffusion 3 and 3.5 (Esser et al. 2024).
class Sd3Transformer final : public Denoiser {
 public:
  Sd3Transformer(Sd3Description description, LayerBuilder builder)
      : config_(std::move(description)), layers_(builder.layers()) {
    facts_ = {.family = "sd3_transformer_2d",
              .latent_channels = config_.in_channels,
              .out_channels = config_.out_channels,
              .text_width = config_.text_width,
              .empty_tokens = kEmptyTokens,
              .pooled_width = config_.pooled_width,
              .size_numbers = 0,
              .latent_multiple = config_.patch,
              .compute_dtype = builder.placement().dtype};
    const std::int64_t width = config_.width();
    patches_ = builder.convolution({"pos_embed.proj", "edge"}, width, config_.in_channels,
                                   {.size = config_.patch, .stride = config_.patch, .padding = 0});
    const std::int64_t most = config_.most_positions;
    positions_ = builder.array("pos_embed.pos_embed", std::array<std::int64_t, 3>{1, most * most, width});
    const auto pair = [&](const std::string& name, std::int64_t in) {
      return std::array<std::size_t, 2>{builder.linear({name + ".linear_1", "time"}, width, in),
                                        builder.linear({name + ".linear_2", "time"}, width, width)};
    };
    time_ = pair("time_text_embed.timestep_embedder", kTimeWaves);
    pooled_ = pair("time_text_embed.text_embedder", config_.pooled_width);
    text_in_ = builder.linear({"context_embedder", "edge"}, width, config_.text_width);
    for (std::int64_t index = 0; index < config_.blocks; ++index) {
      blocks_.push_back(load_joint_block(builder, fmt::format("transformer_blocks.{}", index), index,
                                         {.width = width,
                                          .heads = config_.heads,
                                          .head_norms = config_.head_norms,
                                          .dual = config_.dual[static_cast<std::size_t>(index)],
                                          .last = index + 1 == config_.blocks}));
    }
    modulation_out_ = builder.linear({"norm_out.linear", "time"}, 2 * width, width);
    out_ = builder.linear({"proj_out", "edge"}, config_.patch * config_.patch * config_.out_channels, width);
  }

  [[nodiscard]] const DenoiserFacts& facts() const override { return facts_; }

  [[nodiscard]] at::Tensor predict(const DenoiserInput& input, const adapter::Pack& pack) const override {
    require(input.pooled != nullptr, Fault::kBug, "this transformer takes a pooled text state");
    const at::ScalarType dtype = (*layers_)[patches_].weight.values().scalar_type();
    const std::int64_t samples = input.latents.size(0);
    const std::int64_t height = input.latents.size(2) / config_.patch;
    const std::int64_t columns = input.latents.size(3) / config_.patch;
    const auto on = [&](std::size_t place, const at::Tensor& x) { return apply(*layers_, place, x, pack); };
    const auto two_layers = [&](const std::array<std::size_t, 2>& layers, const at::Tensor& x) {
      return on(layers[1], tensor::activation(on(layers[0], x), tensor::Activation::kSilu));
    };
    const at::Tensor waves = timestep_embedding(input.timesteps, {.width = kTimeWaves, .cosine_first = true});
    const at::Tensor conditions = tensor::activation(
        tensor::add(two_layers(time_, waves.to(dtype)), two_layers(pooled_, input.pooled->to(dtype))),
        tensor::Activation::kSilu);
    const at::Tensor patches = tensor::rows_of_image(on(patches_, input.latents.to(dtype).contiguous()));
    const at::Tensor placed = at::add(patches.view({samples, -1, config_.width()}), positions_of(height, columns));
    JointRows rows{placed.view(patches.sizes()),
                   on(text_in_, filled(input.text).reshape({-1, config_.text_width}).to(dtype).contiguous())};
    const JointPass pass{*layers_, pack, samples, config_.heads, conditions};
    for (const JointBlock& block : blocks_) {
      rows = input.recompute_blocks ? run_joint_block_again(block, rows, pass) : run_joint_block(block, rows, pass);
    }
    const std::vector<at::Tensor> last = on(modulation_out_, conditions).split(config_.width(), 1);
    return image_of_patches(on(out_, modulated_norm(rows.image, last[0], last[1])), samples, height, columns);
  }

 private:
  /// A text of CLIP alone, [samples, tokens, less], as wide as the model's, with rows for T5.
  [[nodiscard]] at::Tensor filled(const at::Tensor& text) const {
    const std::int64_t missing = config_.text_width - text.size(2);
    return missing == 0 ? text : at::constant_pad_nd(text, {0, missing, 0, kEmptyTokens});
  }

  /// The middle of the square of positions, [height * columns, width].
  [[nodiscard]] at::Tensor positions_of(std::int64_t height, std::int64_t columns) const {
    const std::int64_t most = config_.most_positions;
    require(height <= most && columns <= most, Fault::kUsage,
            "a picture of {} x {} patches is larger than the {} x {} that the model has positions for", columns, height,
            most, most);
    return positions_.values()
        .view({most, most, config_.width()})
        .narrow(0, (most - height) / 2, height)
        .narrow(1, (most - columns) / 2, columns)
        .reshape({height * columns, config_.width()});
  }

  /// Rows [samples * height * columns, patch * patch * channels] as [samples, channels, height * patch, …].
  [[nodiscard]] at::Tensor image_of_patches(const at::Tensor& rows, std::int64_t samples, std::int64_t height,
                                            std::int64_t columns) const {
    const std::int64_t patch = config_.patch;
    return rows.view({samples, height, columns, patch, patch, config_.out_channels})
        .permute({0, 5, 1, 3, 2, 4})
        .reshape({samples, config_.out_channels, height * patch, columns * patch});
  }

  Sd3Description config_;
  std::shared_ptr<LayerList> layers_;
  DenoiserFacts facts_;
  std::size_t patches_ = 0;
  tensor::BaseWeight positions_;
  std::array<std::size_t, 2> time_{};
  std::array<std::size_t, 2> pooled_{};
  std::size_t text_in_ = 0;
  std::vector<JointBlock> blocks_;
  std::size_t modulation_out_ = 0;
  std::size_t out_ = 0;
};

}  // namespace

DenoiserFamily sd3_transformer_2d() {
  return {.doc = "Stable Diffusion 3 and 3.5.",
          .class_name = "SD3Transformer2DModel",
          .part = "transformer",
          .load = [](ConfigFields& fields, std::string_view where,
                     const std::function<LayerBuilder()>& builder) -> std::unique_ptr<Denoiser> {
            Sd3Description description = describe_sd3(fields);
            require_no_problems(fields, where);
            return std::make_unique<Sd3Transformer>(std::move(description), builder());
          }};
}

}  // namespace dormer::model::denoisers
