#include <algorithm>
#include <vector>

#include <ATen/core/Tensor.h>
#include <ATen/ops/baddbmm.h>
#include <ATen/ops/bmm.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>

#include "dormer/core/error.hpp"
#include "dormer/tensor/differentiable.hpp"
#include "dormer/tensor/operations.hpp"
#include "element_dispatch.hpp"

namespace dormer::tensor {
namespace {

/// Query positions are taken in blocks, so that a block multiplies only the keys that it can see.
constexpr std::int64_t kBlockPositions = 128;
/// Up to this many positions the probabilities are kept for the backward pass; beyond they are computed again.
constexpr std::int64_t kKeepProbabilities = 512;

/// One layout change with or without rotation; see kernels::rotary.
at::Tensor move_heads(const at::Tensor& from, const RotaryTable* table, const AttentionShape& shape,
                      std::int64_t heads_per_group, bool inverse) {
  const std::int64_t width = heads_per_group * shape.width;
  at::Tensor to =
      inverse ? at::empty({shape.batch * shape.positions, shape.groups * width}, from.options())
              : at::empty({shape.batch * shape.groups, shape.positions * heads_per_group, shape.width}, from.options());
  dispatch_element(from, [&]<typename Element>(Element) {
    const kernels::RotaryArguments<Element> arguments{data<const Element>(from),
                                                      data<Element>(to),
                                                      table != nullptr ? data<const float>(table->cosine) : nullptr,
                                                      table != nullptr ? data<const float>(table->sine) : nullptr,
                                                      shape.positions,
                                                      shape.groups,
                                                      heads_per_group,
                                                      shape.width,
                                                      inverse,
                                                      table != nullptr && table->document_begin != nullptr};
    kernels_for(from).run(arguments, shape.batch * shape.positions);
  });
  return to;
}

/// Scores [batch*groups, rows, keys] before the softmax. Capped scores are scaled, others not yet.
at::Tensor scores_of(const at::Tensor& query, const at::Tensor& key, const AttentionShape& shape) {
  at::Tensor scores = at::bmm(query, key.transpose(1, 2));
  if (shape.soft_cap > 0.0) {
    dispatch_element(scores, [&]<typename Element>(Element) {
      const kernels::SoftCapArguments<Element> arguments{data<Element>(scores), static_cast<float>(shape.scale),
                                                         static_cast<float>(shape.soft_cap)};
      kernels_for(scores).run(arguments, scores.numel());
    });
  }
  return scores;
}

/// Scores of query rows that start at position `first` of the keys become probabilities.
void softmax_(const at::Tensor& scores, std::int64_t first, const AttentionShape& shape,
              const at::Tensor& document_begin) {
  const double scale = shape.soft_cap > 0.0 ? 1.0 : shape.scale;
  dispatch_element(scores, [&]<typename Element>(Element) {
    const kernels::CausalSoftmaxArguments<Element> arguments{
        .scores = data<Element>(scores),
        .rows = scores.size(1),
        .keys = scores.size(2),
        .rows_per_position = shape.heads_per_group,
        .first_position = first,
        .scale = static_cast<float>(scale),
        .window = shape.window,
        .document_begin = document_begin.defined() ? data<const std::int64_t>(document_begin) : nullptr,
        .positions = shape.positions,
        .batches_per_sample = shape.groups};
    kernels_for(scores).run(arguments, scores.size(0) * scores.size(1));
  });
}

at::Tensor probabilities_of(const at::Tensor& query, const at::Tensor& key, std::int64_t first,
                            const AttentionShape& shape, const at::Tensor& document_begin) {
  at::Tensor scores = scores_of(query, key, shape);
  softmax_(scores, first, shape, document_begin);
  return scores;
}

/// Turns the probabilities' gradient into that of the products query * key. `capped` are the capped scores, or
/// undefined.
void score_gradient_(const at::Tensor& probabilities, const at::Tensor& capped, const at::Tensor& gradient,
                     const AttentionShape& shape) {
  const double scale = capped.defined() ? 1.0 : shape.scale;
  dispatch_element(gradient, [&]<typename Element>(Element) {
    const kernels::SoftmaxBackwardArguments<Element> arguments{
        data<const Element>(probabilities), data<Element>(gradient), gradient.size(2), static_cast<float>(scale)};
    kernels_for(gradient).run(arguments, gradient.size(0) * gradient.size(1));
    if (capped.defined()) {
      const kernels::SoftCapBackwardArguments<Element> cap{data<const Element>(capped), data<Element>(gradient),
                                                           static_cast<float>(shape.scale),
                                                           static_cast<float>(shape.soft_cap)};
      kernels_for(gradient).run(cap, gradient.numel());
    }
  });
}

/// A block of query positions [first, first + count) and their rows.
struct Block {
  std::int64_t first;
  std::int64_t count;
};

std::vector<Block> blocks_of(std::int64_t positions) {
  std::vector<Block> blocks;
  for (std::int64_t first = 0; first < positions; first += kBlockPositions) {
    blocks.push_back({first, std::min(kBlockPositions, positions - first)});
  }
  return blocks;
}

struct SavedAttention {
  at::Tensor query;  // [batch*groups, positions*heads_per_group, width], rotated
  at::Tensor key;    // [batch*groups, positions, width], rotated
  at::Tensor value;
  at::Tensor cosine;
  at::Tensor sine;
  at::Tensor document_begin;              // or undefined
  std::vector<at::Tensor> probabilities;  // per block, or empty
  AttentionShape shape;
};

std::vector<at::Tensor> attention_gradient(const SavedAttention& saved, const at::Tensor& gradient) {
  const AttentionShape& shape = saved.shape;
  const std::int64_t heads = shape.heads_per_group;
  const at::Tensor output_gradient = move_heads(gradient, nullptr, shape, heads, false);
  at::Tensor query_gradient = at::empty(saved.query.sizes(), saved.query.options());
  at::Tensor key_gradient = at::empty(saved.key.sizes(), saved.key.options());
  at::Tensor value_gradient = at::empty(saved.value.sizes(), saved.value.options());
  const std::vector<Block> blocks = blocks_of(shape.positions);
  // The last block sees all keys: it goes first and writes; the others add to the keys that they see.
  for (std::size_t index = blocks.size(); index-- > 0;) {
    const Block block = blocks[index];
    const std::int64_t keys = block.first + block.count;
    const at::Tensor query = saved.query.narrow(1, block.first * heads, block.count * heads);
    const at::Tensor block_gradient = output_gradient.narrow(1, block.first * heads, block.count * heads);
    const at::Tensor key = saved.key.narrow(1, 0, keys);
    const at::Tensor value = saved.value.narrow(1, 0, keys);
    const at::Tensor capped = shape.soft_cap > 0.0 ? scores_of(query, key, shape) : at::Tensor();
    const at::Tensor probabilities = saved.probabilities.empty()
                                         ? probabilities_of(query, key, block.first, shape, saved.document_begin)
                                         : saved.probabilities[index];
    at::Tensor score_gradient = at::bmm(block_gradient, value.transpose(1, 2));
    score_gradient_(probabilities, capped, score_gradient, shape);
    at::Tensor query_part = query_gradient.narrow(1, block.first * heads, block.count * heads);
    query_part.copy_(at::bmm(score_gradient, key));
    const at::Tensor value_part = at::bmm(probabilities.transpose(1, 2), block_gradient);
    const at::Tensor key_part = at::bmm(score_gradient.transpose(1, 2), query);
    if (index + 1 == blocks.size()) {
      value_gradient.copy_(value_part);
      key_gradient.copy_(key_part);
    } else {
      value_gradient.narrow(1, 0, keys).add_(value_part);
      key_gradient.narrow(1, 0, keys).add_(key_part);
    }
  }
  const RotaryTable table{saved.cosine, saved.sine, saved.document_begin.defined() ? &saved.document_begin : nullptr};
  return {move_heads(query_gradient, &table, shape, heads, true), move_heads(key_gradient, &table, shape, 1, true),
          move_heads(value_gradient, nullptr, shape, 1, true)};
}

}  // namespace

at::Tensor causal_attention(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                            const RotaryTable& table, const AttentionShape& shape) {
  const std::int64_t heads = shape.heads_per_group;
  const bool recording = records({query, key, value});
  SavedAttention saved{move_heads(detached(query), &table, shape, heads, false),
                       move_heads(detached(key), &table, shape, 1, false),
                       move_heads(detached(value), nullptr, shape, 1, false),
                       table.cosine,
                       table.sine,
                       table.document_begin != nullptr ? *table.document_begin : at::Tensor(),
                       {},
                       shape};
  at::Tensor mixed = at::empty(saved.query.sizes(), saved.query.options());
  for (const Block block : blocks_of(shape.positions)) {
    const std::int64_t keys = block.first + block.count;
    at::Tensor probabilities = probabilities_of(saved.query.narrow(1, block.first * heads, block.count * heads),
                                                saved.key.narrow(1, 0, keys), block.first, shape, saved.document_begin);
    mixed.narrow(1, block.first * heads, block.count * heads)
        .copy_(at::bmm(probabilities, saved.value.narrow(1, 0, keys)));
    if (recording && shape.positions <= kKeepProbabilities) {
      saved.probabilities.push_back(std::move(probabilities));
    }
  }
  at::Tensor result = move_heads(mixed, nullptr, shape, heads, true);
  if (recording) {
    record(result, {query, key, value}, "CausalAttention",
           [saved = std::move(saved)](const at::Tensor& gradient, const std::vector<bool>&) {
             return attention_gradient(saved, gradient);
           });
  }
  return result;
}

at::Tensor cached_attention(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                            const RotaryTable& table, const AttentionShape& shape, at::Tensor& past_key,
                            at::Tensor& past_value) {
  invariant(table.document_begin == nullptr, "a cache holds one document a row");
  const NoRecording guard;
  const at::Tensor rotated = move_heads(query, &table, shape, shape.heads_per_group, false);
  const at::Tensor new_key = move_heads(key, &table, shape, 1, false);
  const at::Tensor new_value = move_heads(value, nullptr, shape, 1, false);
  const std::int64_t past = past_key.defined() ? past_key.size(1) : 0;
  past_key = past > 0 ? at::cat({past_key, new_key}, 1) : new_key;
  past_value = past > 0 ? at::cat({past_value, new_value}, 1) : new_value;
  const at::Tensor mixed = at::bmm(probabilities_of(rotated, past_key, past, shape, {}), past_value);
  return move_heads(mixed, nullptr, shape, shape.heads_per_group, true);
}

}  // namespace dormer::tensor
