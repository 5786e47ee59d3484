#include "autoencoder_kl.hpp"

#include <array>
#include <optional>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include <ATen/core/Tensor.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/clamp.h>
#include <ATen/ops/constant_pad_nd.h>

#include "dormer/core/error.hpp"
#include "dormer/tensor/differentiable.hpp"
#include "dormer/tensor/operations.hpp"
#include "model/config_fields.hpp"
#include "part_config.hpp"
#include "resnet.hpp"

namespace dormer::model {
namespace {

constexpr double kEpsilon = 1e-6;
constexpr std::int64_t kPixelChannels = 3;

struct AutoencoderDescription {
  std::vector<std::int64_t> channels;  // the finest level first
  std::int64_t layers = 1;             // resnets of a level on the way to latents; one more on the way back
  std::int64_t latent_channels = 4;
  std::int64_t groups = 32;
  bool before_latents = true;  // a convolution of one tap on either side of the latents
  bool after_latents = true;
  bool attends = true;
  double scaling = 0.18215;
  double shift = 0.0;
};

std::vector<std::int64_t> channels_of(ConfigFields& fields) {
  constexpr std::int64_t kMost = 1 << 16;
  std::vector<std::int64_t> channels;
  if (!fields.has("block_out_channels") || !fields.object().at("block_out_channels").is_array()) {
    fields.refuse(true, "block_out_channels must be a list with one entry for every level");
    return channels;
  }
  for (const nlohmann::json& value : fields.object().at("block_out_channels")) {
    const bool good = value.is_number_integer() && value >= 1 && value <= kMost;
    fields.refuse(!good, fmt::format("block_out_channels must be positive integers, not {}", value.dump()));
    channels.push_back(good ? value.get<std::int64_t>() : 1);
  }
  fields.refuse(channels.empty(), "block_out_channels is empty");
  return channels;
}

AutoencoderDescription describe(ConfigFields& fields) {
  AutoencoderDescription result;
  fields.refuse(!fields.has("_class_name") || fields.object().at("_class_name") != "AutoencoderKL",
                "_class_name other than AutoencoderKL is not supported");
  result.channels = channels_of(fields);
  result.layers = fields.size("layers_per_block", 1);
  result.latent_channels = fields.size("latent_channels", 4);
  result.groups = fields.size("norm_num_groups", 32);
  result.before_latents = fields.flag("use_quant_conv", true);
  result.after_latents = fields.flag("use_post_quant_conv", true);
  result.attends = fields.flag("mid_block_add_attention", true);
  result.scaling = fields.number("scaling_factor", 0.18215);
  result.shift = fields.number_or_null("shift_factor", 0.0);
  fields.refuse(fields.has("act_fn") && fields.object().at("act_fn") != "silu",
                "act_fn other than silu is not supported");
  for (const char* name : {"latents_mean", "latents_std"}) {
    fields.refuse(fields.has(name), fmt::format("{} is not supported", name));
  }
  for (const auto& [name, type] :
       {std::pair{"down_block_types", "DownEncoderBlock2D"}, {"up_block_types", "UpDecoderBlock2D"}}) {
    for (const nlohmann::json& value : fields.has(name) ? fields.object().at(name) : nlohmann::json::array()) {
      fields.refuse(value != type, fmt::format("{}: {} is not supported; known: {}", name, value.dump(), type));
    }
  }
  for (const std::int64_t channels : result.channels) {
    fields.refuse(
        channels % result.groups != 0,
        fmt::format("block_out_channels: {} does not divide into norm_num_groups {}", channels, result.groups));
  }
  return result;
}

/// Self-attention of one head over all positions, beside the input.
struct MiddleAttention {
  Norm norm;
  std::array<std::size_t, 4> query_key_value_output{};
};

struct Level {
  std::vector<Resnet> resnets;
  std::optional<std::size_t> resample;
};

/// One direction: levels, and two resnets around an attention where the latents are.
struct Side {
  std::size_t in = 0;
  std::vector<Level> levels;
  std::vector<Resnet> middle;
  std::optional<MiddleAttention> attention;
  Norm norm;
  std::size_t out = 0;
};

class AutoencoderKl final : public Autoencoder {
 public:
  AutoencoderKl(AutoencoderDescription description, LayerBuilder builder)
      : config_(std::move(description)), layers_(builder.layers()) {
    facts_ = {.latent_channels = config_.latent_channels,
              .downscale = std::int64_t{1} << (config_.channels.size() - 1),
              .scaling = config_.scaling,
              .shift = config_.shift,
              .compute_dtype = builder.placement().dtype};
    load_encoder(builder);
    load_decoder(builder);
    const SquareKernel one_tap{.size = 1, .padding = 0};
    const std::int64_t width = config_.latent_channels;
    if (config_.before_latents) {
      before_ = builder.convolution({"quant_conv", "convolution"}, 2 * width, 2 * width, one_tap);
    }
    if (config_.after_latents) {
      after_ = builder.convolution({"post_quant_conv", "convolution"}, width, width, one_tap);
    }
  }

  [[nodiscard]] const AutoencoderFacts& facts() const override { return facts_; }

  [[nodiscard]] at::Tensor encode(const at::Tensor& images) const override {
    const tensor::NoRecording guard;
    at::Tensor x = on(encoder_.in, taken(images));
    for (const Level& level : encoder_.levels) {
      x = run_resnets(level.resnets, x);
      if (level.resample) {  // half of it by a kernel that looks down and to the right
        x = on(*level.resample, at::constant_pad_nd(x, {0, 1, 0, 1}));
      }
    }
    x = finish(encoder_, run_middle(encoder_, x));
    const at::Tensor moments = (before_ ? on(*before_, x) : x).to(at::kFloat);
    const std::int64_t width = config_.latent_channels;
    constexpr double kLeast = -30.0;
    constexpr double kMost = 20.0;
    return at::cat({moments.narrow(1, 0, width), at::clamp(moments.narrow(1, width, width), kLeast, kMost)}, 1);
  }

  [[nodiscard]] at::Tensor decode(const at::Tensor& latents) const override {
    const tensor::NoRecording guard;
    const at::Tensor first = taken(latents);
    at::Tensor x = run_middle(decoder_, on(decoder_.in, after_ ? on(*after_, first) : first));
    for (const Level& level : decoder_.levels) {
      x = run_resnets(level.resnets, x);
      if (level.resample) {
        x = on(*level.resample, enlarged(x, 2 * x.size(2), 2 * x.size(3)));
      }
    }
    return finish(decoder_, x).to(at::kFloat);
  }

 private:
  [[nodiscard]] at::Tensor on(std::size_t place, const at::Tensor& x) const {
    return apply(*layers_, place, x, adapter::Pack::solo(nullptr, x.size(0)));
  }

  [[nodiscard]] at::Tensor taken(const at::Tensor& values) const {
    const at::Tensor& weight = (*layers_)[encoder_.in].weight.values();
    return values.to(weight.options()).contiguous();
  }

  [[nodiscard]] at::Tensor run_resnets(const std::vector<Resnet>& resnets, at::Tensor x) const {
    for (const Resnet& resnet : resnets) {
      x = run_resnet(resnet, *layers_, x, {}, adapter::Pack::solo(nullptr, x.size(0)));
    }
    return x;
  }

  [[nodiscard]] at::Tensor run_middle(const Side& side, const at::Tensor& x) const {
    at::Tensor y = run_resnets({side.middle[0]}, x);
    if (side.attention) {
      y = attend(*side.attention, y);
    }
    return run_resnets({side.middle[1]}, y);
  }

  [[nodiscard]] at::Tensor attend(const MiddleAttention& part, const at::Tensor& x) const {
    const at::Tensor rows = tensor::rows_of_image(tensor::group_norm(x, part.norm.affine(), config_.groups, false));
    const auto project = [&](std::size_t index, const at::Tensor& source) {
      return apply(*layers_, part.query_key_value_output[index], source, adapter::Pack::solo(nullptr, x.size(0)));
    };
    const std::int64_t positions = x.size(2) * x.size(3);
    const at::Tensor mixed = tensor::attention(
        project(0, rows), project(1, rows), project(2, rows),
        {.batch = x.size(0), .queries = positions, .keys = positions, .heads = 1, .width = x.size(1)});
    return tensor::add(x, tensor::image_of_rows(project(3, mixed), x.size(0), x.size(2), x.size(3)));
  }

  [[nodiscard]] at::Tensor finish(const Side& side, const at::Tensor& x) const {
    return on(side.out, tensor::group_norm(x, side.norm.affine(), config_.groups, true));
  }

  [[nodiscard]] Resnet resnet(LayerBuilder& builder, const std::string& name, std::int64_t in, std::int64_t out) const {
    return load_resnet(builder, name, -1, {.in = in, .out = out, .groups = config_.groups, .epsilon = kEpsilon});
  }

  void load_middle(LayerBuilder& builder, const std::string& side_name, Side& side) const {
    const std::int64_t width = config_.channels.back();
    const std::string name = side_name + ".mid_block.";
    side.middle.push_back(resnet(builder, name + "resnets.0", width, width));
    if (config_.attends) {
      const bool old = builder.has(name + "attentions.0.query.weight");
      const std::array<const char*, 4> names =
          old ? std::array{"query", "key", "value", "proj_attn"} : std::array{"to_q", "to_k", "to_v", "to_out.0"};
      MiddleAttention attention;
      attention.norm = builder.norm(name + "attentions.0.group_norm", width, kEpsilon);
      for (std::size_t index = 0; index < names.size(); ++index) {
        attention.query_key_value_output[index] =
            builder.linear({name + "attentions.0." + names[index], "attention"}, width, width);
      }
      side.attention = std::move(attention);
    }
    side.middle.push_back(resnet(builder, name + "resnets.1", width, width));
  }

  void load_encoder(LayerBuilder& builder) {
    std::int64_t width = config_.channels.front();
    encoder_.in = builder.convolution({"encoder.conv_in", "convolution"}, width, kPixelChannels);
    for (std::size_t index = 0; index < config_.channels.size(); ++index) {
      const std::string name = fmt::format("encoder.down_blocks.{}.", index);
      Level level;
      for (std::int64_t layer = 0; layer < config_.layers; ++layer) {
        level.resnets.push_back(
            resnet(builder, fmt::format("{}resnets.{}", name, layer), width, config_.channels[index]));
        width = config_.channels[index];
      }
      if (index + 1 < config_.channels.size()) {
        level.resample = builder.convolution({name + "downsamplers.0.conv", "convolution"}, width, width,
                                             {.stride = 2, .padding = 0});
      }
      encoder_.levels.push_back(std::move(level));
    }
    load_middle(builder, "encoder", encoder_);
    encoder_.norm = builder.norm("encoder.conv_norm_out", width, kEpsilon);
    encoder_.out = builder.convolution({"encoder.conv_out", "convolution"}, 2 * config_.latent_channels, width);
  }

  void load_decoder(LayerBuilder& builder) {
    std::int64_t width = config_.channels.back();
    decoder_.in = builder.convolution({"decoder.conv_in", "convolution"}, width, config_.latent_channels);
    load_middle(builder, "decoder", decoder_);
    for (std::size_t index = 0; index < config_.channels.size(); ++index) {
      const std::string name = fmt::format("decoder.up_blocks.{}.", index);
      const std::int64_t out = config_.channels[config_.channels.size() - 1 - index];
      Level level;
      for (std::int64_t layer = 0; layer <= config_.layers; ++layer) {
        level.resnets.push_back(resnet(builder, fmt::format("{}resnets.{}", name, layer), width, out));
        width = out;
      }
      if (index + 1 < config_.channels.size()) {
        level.resample = builder.convolution({name + "upsamplers.0.conv", "convolution"}, width, width);
      }
      decoder_.levels.push_back(std::move(level));
    }
    decoder_.norm = builder.norm("decoder.conv_norm_out", width, kEpsilon);
    decoder_.out = builder.convolution({"decoder.conv_out", "convolution"}, kPixelChannels, width);
  }

  AutoencoderDescription config_;
  std::shared_ptr<LayerList> layers_;
  AutoencoderFacts facts_;
  Side encoder_;
  Side decoder_;
  std::optional<std::size_t> before_;
  std::optional<std::size_t> after_;
};

}  // namespace

std::unique_ptr<Autoencoder> load_autoencoder_kl(const std::filesystem::path& folder, const Placement& placement) {
  const PartConfig config(folder);
  ConfigFields fields(config.object());
  AutoencoderDescription description = describe(fields);
  require_no_problems(fields, config.where());
  const storage::SafetensorsSet files = storage::SafetensorsSet::open_folder(folder, "diffusion_pytorch_model");
  return std::make_unique<AutoencoderKl>(
      std::move(description), LayerBuilder(files, "", std::make_shared<LayerList>(/*adapted=*/false), placement));
}

}  // namespace dormer::model
