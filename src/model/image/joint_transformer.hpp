#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "layer_builder.hpp"

namespace dormer::model {

/// Projections of one stream of rows that takes part in an attention. Norms of the heads are there or not.
struct StreamProjections {
  std::size_t query = 0;
  std::size_t key = 0;
  std::size_t value = 0;
  std::optional<std::size_t> output;  ///< none where the stream ends here
  std::optional<tensor::BaseWeight> query_norm;
  std::optional<tensor::BaseWeight> key_norm;
};

/// One stream (of the image, of the text) in a block: what its normed rows are scaled and moved by follows from the
/// conditions.
struct Stream {
  std::size_t modulation = 0;
  StreamProjections joint;
  std::optional<StreamProjections> own;  ///< a second attention, of the stream alone
  std::optional<std::array<std::size_t, 2>> mlp;
};

/// A block of MMDiT (Esser et al. 2024), as diffusers' JointTransformerBlock has it: image and text attend to each
/// other's rows, each by weights of its own.
struct JointBlock {
  Stream image;
  Stream text;
};

struct JointSizes {
  std::int64_t width = 0;
  std::int64_t heads = 0;
  bool head_norms = false;  ///< RMS norms of queries and keys
  bool dual = false;        ///< the image's second attention
  bool last = false;        ///< the text ends here
};

[[nodiscard]] JointBlock load_joint_block(LayerBuilder& builder, const std::string& name, std::int64_t block,
                                          const JointSizes& sizes);

/// Rows of both streams, [samples * positions, width] each.
struct JointRows {
  at::Tensor image;
  at::Tensor text;
};

/// What all blocks of a pass read.
struct JointPass {
  const LayerList& layers;
  const adapter::Pack& pack;
  std::int64_t samples = 0;
  std::int64_t heads = 0;
  const at::Tensor& conditions;  ///< [samples, width], after SiLU
};

/// The text's rows are undefined after the last block.
[[nodiscard]] JointRows run_joint_block(const JointBlock& block, const JointRows& rows, const JointPass& pass);
/// The same, of which only rows and conditions are kept, with the same bits. Block and layers outlive the backward
/// pass.
[[nodiscard]] JointRows run_joint_block_again(const JointBlock& block, const JointRows& rows, const JointPass& pass);

/// Layer norm without weights of x [samples * positions, width], then times 1 + scale plus shift ([samples, width]).
[[nodiscard]] at::Tensor modulated_norm(const at::Tensor& x, const at::Tensor& scale, const at::Tensor& shift);

}  // namespace dormer::model
