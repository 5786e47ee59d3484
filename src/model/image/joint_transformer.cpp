#include "joint_transformer.hpp"

#include <ATen/core/Tensor.h>
#include <ATen/ops/add.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>

#include "dormer/tensor/differentiable.hpp"
#include "dormer/tensor/operations.hpp"

namespace dormer::model {
namespace {

constexpr double kJointEpsilon = 1e-6;
constexpr std::int64_t kJointInner = 4;  // times the width

StreamProjections load_projections(LayerBuilder& builder, const std::string& name, std::int64_t block,
                                   const std::array<const char*, 4>& parts, const JointSizes& sizes,
                                   const std::array<const char*, 2>& norms, bool output) {
  const auto linear = [&](const char* part) {
    return builder.linear({name + part, "attention", block}, sizes.width, sizes.width);
  };
  StreamProjections result;
  result.query = linear(parts[0]);
  result.key = linear(parts[1]);
  result.value = linear(parts[2]);
  if (output) {
    result.output = linear(parts[3]);
  }
  if (sizes.head_norms) {
    const std::array head{sizes.width / sizes.heads};
    result.query_norm = builder.array(name + norms[0], head, DType::kF32);
    result.key_norm = builder.array(name + norms[1], head, DType::kF32);
  }
  return result;
}

constexpr std::array<const char*, 4> kImageParts{".to_q", ".to_k", ".to_v", ".to_out.0"};
constexpr std::array<const char*, 4> kTextParts{".add_q_proj", ".add_k_proj", ".add_v_proj", ".to_add_out"};
constexpr std::array<const char*, 2> kImageNorms{".norm_q.weight", ".norm_k.weight"};
constexpr std::array<const char*, 2> kTextNorms{".norm_added_q.weight", ".norm_added_k.weight"};

std::array<std::size_t, 2> load_mlp(LayerBuilder& builder, const std::string& name, std::int64_t block,
                                    std::int64_t width) {
  return {builder.linear({name + ".net.0.proj", "mlp", block}, kJointInner * width, width),
          builder.linear({name + ".net.2", "mlp", block}, width, kJointInner * width)};
}

/// x [samples * positions, width] times gate [samples, width], added to `base`.
at::Tensor gated_sum(const at::Tensor& base, const at::Tensor& x, const at::Tensor& gate) {
  const std::int64_t samples = gate.size(0);
  const at::Tensor moved = at::mul(x.view({samples, -1, x.size(1)}), gate.unsqueeze(1));
  return tensor::add(base, moved.view(x.sizes()));
}

struct Heads {
  at::Tensor query;
  at::Tensor key;
  at::Tensor value;
};

at::Tensor normed_heads(const at::Tensor& rows, const std::optional<tensor::BaseWeight>& norm) {
  if (!norm) {
    return rows;
  }
  const std::int64_t width = norm->values().size(0);
  return tensor::rms_norm(rows.view({-1, width}), norm->values(), kJointEpsilon).view(rows.sizes());
}

Heads project(const StreamProjections& part, const at::Tensor& rows, const JointPass& pass) {
  return {normed_heads(apply(pass.layers, part.query, rows, pass.pack), part.query_norm),
          normed_heads(apply(pass.layers, part.key, rows, pass.pack), part.key_norm),
          apply(pass.layers, part.value, rows, pass.pack)};
}

at::Tensor attend(const Heads& heads, const JointPass& pass) {
  const std::int64_t positions = heads.query.size(0) / pass.samples;
  return tensor::attention(heads.query, heads.key, heads.value,
                           {.batch = pass.samples,
                            .queries = positions,
                            .keys = positions,
                            .heads = pass.heads,
                            .width = heads.query.size(1) / pass.heads});
}

/// Each sample's rows of the image, then those of its text.
at::Tensor joined(const at::Tensor& image, const at::Tensor& text, std::int64_t samples) {
  const std::int64_t width = image.size(1);
  return at::cat({image.view({samples, -1, width}), text.view({samples, -1, width})}, 1).view({-1, width});
}

at::Tensor part_of(const at::Tensor& rows, std::int64_t samples, std::int64_t first, std::int64_t count) {
  return rows.view({samples, -1, rows.size(1)}).narrow(1, first, count).reshape({-1, rows.size(1)}).contiguous();
}

/// Numbers of a stream's modulation, each [samples, width].
std::vector<at::Tensor> modulation_of(const Stream& stream, const at::Tensor& conditions, const JointPass& pass,
                                      std::int64_t width) {
  const at::Tensor all = apply(pass.layers, stream.modulation, conditions, pass.pack);
  return all.split(width, 1);
}

/// What follows the attention: shift, scale and gate are the third to fifth of both forms.
at::Tensor run_mlp(const Stream& stream, const at::Tensor& x, const std::vector<at::Tensor>& numbers,
                   const JointPass& pass) {
  const at::Tensor inner =
      tensor::activation(apply(pass.layers, (*stream.mlp)[0], modulated_norm(x, numbers[4], numbers[3]), pass.pack),
                         tensor::Activation::kGeluTanh);
  return gated_sum(x, apply(pass.layers, (*stream.mlp)[1], inner, pass.pack), numbers[5]);
}

}  // namespace

at::Tensor modulated_norm(const at::Tensor& x, const at::Tensor& scale, const at::Tensor& shift) {
  const at::TensorOptions options = x.options().requires_grad(false);
  const at::Tensor ones = at::ones({x.size(1)}, options);
  const at::Tensor zeros = at::zeros({x.size(1)}, options);
  const std::int64_t samples = scale.size(0);
  const at::Tensor normed = tensor::layer_norm(x, {ones, zeros, kJointEpsilon}).view({samples, -1, x.size(1)});
  return at::add(at::mul(normed, at::add(scale, 1).unsqueeze(1)), shift.unsqueeze(1)).view(x.sizes());
}

JointBlock load_joint_block(LayerBuilder& builder, const std::string& name, std::int64_t block,
                            const JointSizes& sizes) {
  const std::int64_t width = sizes.width;
  const auto modulation = [&](const char* part, std::int64_t numbers) {
    return builder.linear({name + part, "time", block}, numbers * width, width);
  };
  JointBlock result;
  result.image.modulation = modulation(".norm1.linear", sizes.dual ? 9 : 6);
  result.text.modulation = modulation(".norm1_context.linear", sizes.last ? 2 : 6);
  result.image.joint = load_projections(builder, name + ".attn", block, kImageParts, sizes, kImageNorms, true);
  result.text.joint = load_projections(builder, name + ".attn", block, kTextParts, sizes, kTextNorms, !sizes.last);
  if (sizes.dual) {
    result.image.own = load_projections(builder, name + ".attn2", block, kImageParts, sizes, kImageNorms, true);
  }
  result.image.mlp = load_mlp(builder, name + ".ff", block, width);
  if (!sizes.last) {
    result.text.mlp = load_mlp(builder, name + ".ff_context", block, width);
  }
  return result;
}

namespace {

/// The streams' conditions are one, which a graph then has read twice.
JointRows joint_rows(const JointBlock& block, const JointRows& rows, const JointPass& pass,
                     const at::Tensor& text_conditions) {
  const std::int64_t width = rows.image.size(1);
  const bool last = !block.text.mlp;
  const std::vector<at::Tensor> image = modulation_of(block.image, pass.conditions, pass, width);
  const std::vector<at::Tensor> text = modulation_of(block.text, text_conditions, pass, width);
  const at::Tensor image_normed = modulated_norm(rows.image, image[1], image[0]);
  // The last block's text has scale before shift, and nothing else.
  const at::Tensor text_normed = modulated_norm(rows.text, text[last ? 0 : 1], text[last ? 1 : 0]);
  const Heads seen = project(block.image.joint, image_normed, pass);
  const Heads told = project(block.text.joint, text_normed, pass);
  const at::Tensor mixed =
      attend({joined(seen.query, told.query, pass.samples), joined(seen.key, told.key, pass.samples),
              joined(seen.value, told.value, pass.samples)},
             pass);
  const std::int64_t positions = rows.image.size(0) / pass.samples;
  const std::int64_t tokens = rows.text.size(0) / pass.samples;
  JointRows result;
  result.image = gated_sum(
      rows.image, apply(pass.layers, *block.image.joint.output, part_of(mixed, pass.samples, 0, positions), pass.pack),
      image[2]);
  if (block.image.own) {
    const at::Tensor again = modulated_norm(rows.image, image[7], image[6]);
    const at::Tensor own = attend(project(*block.image.own, again, pass), pass);
    result.image = gated_sum(result.image, apply(pass.layers, *block.image.own->output, own, pass.pack), image[8]);
  }
  result.image = run_mlp(block.image, result.image, image, pass);
  if (!last) {
    result.text = gated_sum(
        rows.text,
        apply(pass.layers, *block.text.joint.output, part_of(mixed, pass.samples, positions, tokens), pass.pack),
        text[2]);
    result.text = run_mlp(block.text, result.text, text, pass);
  }
  return result;
}

}  // namespace

JointRows run_joint_block(const JointBlock& block, const JointRows& rows, const JointPass& pass) {
  return joint_rows(block, rows, pass, pass.conditions);
}

// Backward, the text's modulation comes before the image's.
JointRows run_joint_block_again(const JointBlock& block, const JointRows& rows, const JointPass& pass) {
  const auto body = [&block, &layers = pass.layers, pack = pass.pack, samples = pass.samples,
                     heads = pass.heads](const std::vector<at::Tensor>& inputs) {
    const JointRows result =
        joint_rows(block, {inputs[0], inputs[1]}, {layers, pack, samples, heads, inputs[3]}, inputs[2]);
    return block.text.mlp ? at::cat({result.image, result.text}, 0) : result.image;
  };
  const at::Tensor both = tensor::recomputed({rows.image, rows.text, pass.conditions, pass.conditions}, body);
  const std::int64_t image_rows = rows.image.size(0);
  return block.text.mlp ? JointRows{both.narrow(0, 0, image_rows), both.narrow(0, image_rows, rows.text.size(0))}
                        : JointRows{both, at::Tensor()};
}

}  // namespace dormer::model
