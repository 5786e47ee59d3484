#include "resnet.hpp"

#include <array>
#include <vector>

#include <ATen/core/Tensor.h>
#include <ATen/ops/add.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/upsample_nearest2d.h>

#include "dormer/tensor/differentiable.hpp"
#include "dormer/tensor/operations.hpp"

namespace dormer::model {

Resnet load_resnet(LayerBuilder& builder, const std::string& name, std::int64_t block, const ResnetSizes& sizes) {
  const auto place = [&](const char* part, const char* group) { return LayerPlace{name + part, group, block}; };
  Resnet resnet;
  resnet.groups = sizes.groups;
  resnet.first_norm = builder.norm(name + ".norm1", sizes.in, sizes.epsilon);
  resnet.first = builder.convolution(place(".conv1", "convolution"), sizes.out, sizes.in);
  if (sizes.time > 0) {
    resnet.time = builder.linear(place(".time_emb_proj", "time"), sizes.out, sizes.time);
  }
  resnet.second_norm = builder.norm(name + ".norm2", sizes.out, sizes.epsilon);
  resnet.second = builder.convolution(place(".conv2", "convolution"), sizes.out, sizes.out);
  if (sizes.in != sizes.out) {
    resnet.shortcut =
        builder.convolution(place(".conv_shortcut", "convolution"), sizes.out, sizes.in, {.size = 1, .padding = 0});
  }
  return resnet;
}

namespace {

/// `beside` and `x` are one image, which a graph then has read twice.
at::Tensor resnet_of(const Resnet& resnet, const LayerList& layers, const at::Tensor& beside, const at::Tensor& x,
                     const at::Tensor& time, const adapter::Pack& pack) {
  at::Tensor inner = tensor::group_norm(x, resnet.first_norm.affine(), resnet.groups, true);
  inner = apply(layers, resnet.first, inner, pack);
  if (resnet.time) {
    inner = at::add(inner, apply(layers, *resnet.time, time, pack).unsqueeze(2).unsqueeze(3));
  }
  inner = tensor::group_norm(inner, resnet.second_norm.affine(), resnet.groups, true);
  inner = apply(layers, resnet.second, inner, pack);
  return tensor::add(resnet.shortcut ? apply(layers, *resnet.shortcut, beside, pack) : beside, inner);
}

}  // namespace

at::Tensor run_resnet(const Resnet& resnet, const LayerList& layers, const at::Tensor& x, const at::Tensor& time,
                      const adapter::Pack& pack) {
  return resnet_of(resnet, layers, x, x, time, pack);
}

at::Tensor run_resnet_again(const Resnet& resnet, const LayerList& layers, const at::Tensor& x, const at::Tensor& time,
                            const adapter::Pack& pack) {
  return tensor::recomputed({x, x, time}, [&resnet, &layers, pack](const std::vector<at::Tensor>& inputs) {
    return resnet_of(resnet, layers, inputs[0], inputs[1], inputs[2], pack);
  });
}

at::Tensor run_resnet_again(const Resnet& resnet, const LayerList& layers, const at::Tensor& x,
                            const at::Tensor& skipped, const at::Tensor& time, const adapter::Pack& pack) {
  return tensor::recomputed({x, skipped, time}, [&resnet, &layers, pack](const std::vector<at::Tensor>& inputs) {
    return run_resnet(resnet, layers, at::cat({inputs[0], inputs[1]}, 1), inputs[2], pack);
  });
}

at::Tensor enlarged(const at::Tensor& image, std::int64_t height, std::int64_t width) {
  const std::array<std::int64_t, 2> sizes{height, width};
  return at::upsample_nearest2d(image, sizes);
}

}  // namespace dormer::model
