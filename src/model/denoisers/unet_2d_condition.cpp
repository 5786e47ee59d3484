#include <array>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include <ATen/core/Tensor.h>
#include <ATen/ops/cat.h>

#include "dormer/core/error.hpp"
#include "dormer/tensor/image_operations.hpp"
#include "dormer/tensor/operations.hpp"
#include "model/image/denoiser_family.hpp"
#include "model/image/resnet.hpp"
#include "model/image/timestep.hpp"
#include "model/image/transformer_2d.hpp"
#include "model/image/unet_description.hpp"

namespace dormer::model::denoisers {
namespace {

/// One level on the way down or up, or the middle.
struct Level {
  std::vector<Resnet> resnets;
  std::vector<Transformer2d> transformers;  // one after every resnet, or none; the middle has one between two
  std::optional<std::size_t> resample;      // the convolution that halves, or follows doubling
};

/// UNet2DConditionModel of diffusers: Stable Diffusion 1.x, 2.x and XL (Rombach et al. 2022, Podell et al. 2023).
class Unet final : public Denoiser {
 public:
  Unet(UnetDescription description, LayerBuilder builder) : config_(std::move(description)), layers_(builder.layers()) {
    facts_ = {.family = "unet_2d_condition",
              .latent_channels = config_.in_channels,
              .out_channels = config_.out_channels,
              .text_width = config_.levels.front().text_width,
              .pooled_width = config_.pooled_width(),
              .size_numbers = config_.size_numbers(),
              .latent_multiple = std::int64_t{1} << (config_.levels.size() - 1),
              .compute_dtype = builder.placement().dtype};
    load(builder);
  }

  [[nodiscard]] const DenoiserFacts& facts() const override { return facts_; }

  [[nodiscard]] at::Tensor predict(const DenoiserInput& input, const adapter::Pack& pack) const override {
    const at::ScalarType dtype = (*layers_)[conv_in_].weight.values().scalar_type();
    const at::Tensor time = embed_time(input, pack);
    const at::Tensor text = input.text.reshape({-1, input.text.size(2)}).to(dtype).contiguous();
    const Pass pass{time, text, pack, input.recompute_blocks};
    at::Tensor x = on(conv_in_, input.latents.to(dtype).contiguous(), pack);
    std::vector<at::Tensor> skipped{x};
    for (const Level& level : down_) {
      for (std::size_t index = 0; index < level.resnets.size(); ++index) {
        x = on(level.resnets[index], x, pass);
        if (!level.transformers.empty()) {
          x = on(level.transformers[index], x, pass);
        }
        skipped.push_back(x);
      }
      if (level.resample) {
        x = on(*level.resample, x, pack);
        skipped.push_back(x);
      }
    }
    x = on(middle_.resnets[0], x, pass);
    x = on(middle_.transformers[0], x, pass);
    x = on(middle_.resnets[1], x, pass);
    for (const Level& level : up_) {
      x = run_up(level, x, skipped, pass);
    }
    return on(conv_out_, tensor::group_norm(x, norm_out_.affine(), config_.groups, true), pack);
  }

 private:
  /// What all blocks of a pass read.
  struct Pass {
    const at::Tensor& time;
    const at::Tensor& text;
    const adapter::Pack& pack;
    bool recompute;
  };

  [[nodiscard]] at::Tensor on(const Resnet& resnet, const at::Tensor& x, const Pass& pass) const {
    return pass.recompute ? run_resnet_again(resnet, *layers_, x, pass.time, pass.pack)
                          : run_resnet(resnet, *layers_, x, pass.time, pass.pack);
  }
  [[nodiscard]] at::Tensor on(const Resnet& resnet, const at::Tensor& x, const at::Tensor& skipped,
                              const Pass& pass) const {
    return pass.recompute ? run_resnet_again(resnet, *layers_, x, skipped, pass.time, pass.pack)
                          : run_resnet(resnet, *layers_, at::cat({x, skipped}, 1), pass.time, pass.pack);
  }
  [[nodiscard]] at::Tensor on(const Transformer2d& transformer, const at::Tensor& x, const Pass& pass) const {
    return run_transformer_2d(transformer, *layers_, x, pass.text, pass.pack, pass.recompute);
  }
  [[nodiscard]] at::Tensor on(std::size_t place, const at::Tensor& x, const adapter::Pack& pack) const {
    return apply(*layers_, place, x, pack);
  }

  [[nodiscard]] at::Tensor run_up(const Level& level, at::Tensor x, std::vector<at::Tensor>& skipped,
                                  const Pass& pass) const {
    for (std::size_t index = 0; index < level.resnets.size(); ++index) {
      x = on(level.resnets[index], x, skipped.back(), pass);
      skipped.pop_back();
      if (!level.transformers.empty()) {
        x = on(level.transformers[index], x, pass);
      }
    }
    // To the size on the way down: odd ones were rounded up when they were halved.
    return level.resample ? on(*level.resample, enlarged(x, skipped.back().size(2), skipped.back().size(3)), pass.pack)
                          : x;
  }

  /// SiLU of the embedded timestep and, where the model takes them, of sizes and the pooled text: [samples, width].
  [[nodiscard]] at::Tensor embed_time(const DenoiserInput& input, const adapter::Pack& pack) const {
    const at::ScalarType dtype = (*layers_)[conv_in_].weight.values().scalar_type();
    const auto two_layers = [&](const std::array<std::size_t, 2>& layers, const at::Tensor& x) {
      return on(layers[1], tensor::activation(on(layers[0], x, pack), tensor::Activation::kSilu), pack);
    };
    at::Tensor embedded = two_layers(time_, timestep_embedding(input.timesteps, config_.time_embedding).to(dtype));
    if (config_.size_embedding.width > 0) {
      require(input.pooled != nullptr && input.sizes != nullptr, Fault::kBug,
              "this UNet takes a pooled text state and sizes");
      const at::Tensor sizes =
          timestep_embedding(input.sizes->reshape({-1}), config_.size_embedding).view({input.sizes->size(0), -1});
      const at::Tensor told = at::cat({input.pooled->to(dtype), sizes.to(dtype)}, 1);
      embedded = tensor::add(embedded, two_layers(sizes_, told));
    }
    return tensor::activation(embedded, tensor::Activation::kSilu);
  }

  void load(LayerBuilder& builder) {
    const UnetLevel& first = config_.levels.front();
    const auto pair = [&](const char* name, std::int64_t in) {
      const std::string path(name);
      return std::array<std::size_t, 2>{
          builder.linear({path + ".linear_1", "time"}, config_.time_width, in),
          builder.linear({path + ".linear_2", "time"}, config_.time_width, config_.time_width)};
    };
    conv_in_ = builder.convolution({"conv_in", "edge"}, first.channels, config_.in_channels);
    time_ = pair("time_embedding", config_.time_embedding.width);
    if (config_.size_embedding.width > 0) {
      sizes_ = pair("add_embedding", config_.added_width);
    }
    std::int64_t block = 0;
    std::vector<std::int64_t> widths{first.channels};  // of what is skipped
    std::int64_t width = first.channels;
    for (std::size_t index = 0; index < config_.levels.size(); ++index) {
      load_down(builder, index, block++, width, widths);
    }
    load_middle(builder, block++);
    for (std::size_t index = 0; index < config_.levels.size(); ++index) {
      load_up(builder, index, block++, width, widths);
    }
    norm_out_ = builder.norm("conv_norm_out", first.channels, config_.epsilon);
    conv_out_ = builder.convolution({"conv_out", "edge"}, config_.out_channels, first.channels);
  }

  [[nodiscard]] Resnet resnet(LayerBuilder& builder, const std::string& name, std::int64_t block, std::int64_t in,
                              std::int64_t out) const {
    return load_resnet(
        builder, name, block,
        {.in = in, .out = out, .time = config_.time_width, .groups = config_.groups, .epsilon = config_.epsilon});
  }

  [[nodiscard]] Transformer2d transformer(LayerBuilder& builder, const std::string& name, std::int64_t block,
                                          const UnetLevel& level) const {
    return load_transformer_2d(builder, name, block,
                               {.channels = level.channels,
                                .heads = level.heads,
                                .blocks = level.transformer_blocks,
                                .text_width = level.text_width,
                                .groups = config_.groups,
                                .linear = config_.linear_projection});
  }

  void load_down(LayerBuilder& builder, std::size_t index, std::int64_t block, std::int64_t& width,
                 std::vector<std::int64_t>& widths) {
    const UnetLevel& sizes = config_.levels[index];
    const std::string name = fmt::format("down_blocks.{}.", index);
    Level level;
    for (std::int64_t layer = 0; layer < sizes.layers; ++layer) {
      level.resnets.push_back(resnet(builder, fmt::format("{}resnets.{}", name, layer), block, width, sizes.channels));
      if (sizes.attends_down) {
        level.transformers.push_back(transformer(builder, fmt::format("{}attentions.{}", name, layer), block, sizes));
      }
      width = sizes.channels;
      widths.push_back(width);
    }
    if (index + 1 < config_.levels.size()) {
      level.resample = builder.convolution({name + "downsamplers.0.conv", "convolution", block}, width, width,
                                           {.stride = 2, .padding = config_.downsample_padding});
      widths.push_back(width);
    }
    down_.push_back(std::move(level));
  }

  void load_middle(LayerBuilder& builder, std::int64_t block) {
    const UnetLevel& sizes = config_.levels.back();
    middle_.resnets.push_back(resnet(builder, "mid_block.resnets.0", block, sizes.channels, sizes.channels));
    middle_.transformers.push_back(transformer(builder, "mid_block.attentions.0", block, sizes));
    middle_.resnets.push_back(resnet(builder, "mid_block.resnets.1", block, sizes.channels, sizes.channels));
  }

  void load_up(LayerBuilder& builder, std::size_t index, std::int64_t block, std::int64_t& width,
               std::vector<std::int64_t>& widths) {
    const UnetLevel& sizes = config_.levels[config_.levels.size() - 1 - index];
    const std::string name = fmt::format("up_blocks.{}.", index);
    Level level;
    for (std::int64_t layer = 0; layer <= sizes.layers; ++layer) {
      level.resnets.push_back(
          resnet(builder, fmt::format("{}resnets.{}", name, layer), block, width + widths.back(), sizes.channels));
      widths.pop_back();
      if (sizes.attends_up) {
        level.transformers.push_back(transformer(builder, fmt::format("{}attentions.{}", name, layer), block, sizes));
      }
      width = sizes.channels;
    }
    if (index + 1 < config_.levels.size()) {
      level.resample = builder.convolution({name + "upsamplers.0.conv", "convolution", block}, width, width);
    }
    up_.push_back(std::move(level));
  }

  UnetDescription config_;
  std::shared_ptr<LayerList> layers_;
  DenoiserFacts facts_;
  std::size_t conv_in_ = 0;
  std::array<std::size_t, 2> time_{};
  std::array<std::size_t, 2> sizes_{};
  std::vector<Level> down_;
  Level middle_;
  std::vector<Level> up_;
  Norm norm_out_;
  std::size_t conv_out_ = 0;
};

}  // namespace

DenoiserFamily unet_2d_condition() {
  return {.doc = "Stable Diffusion 1.x, 2.x and XL.",
          .class_name = "UNet2DConditionModel",
          .part = "unet",
          .load = [](ConfigFields& fields, std::string_view where,
                     const std::function<LayerBuilder()>& builder) -> std::unique_ptr<Denoiser> {
            UnetDescription description = describe_unet(fields);
            require_no_problems(fields, where);
            return std::make_unique<Unet>(std::move(description), builder());
          }};
}

}  // namespace dormer::model::denoisers
