#include <cmath>

#include "dormer/kernels/rows.hpp"
#include "lanes.hpp"

namespace dormer::kernels {
namespace {

template <typename Element>
DORMER_INLINE float row_maximum(const Element* x, std::int64_t count) {
  float lanes[kLanes];
  for (float& lane : lanes) {
    lane = load(x);
  }
  const std::int64_t whole = count - count % kLanes;
  for (std::int64_t i = 0; i < whole; i += kLanes) {
    for (std::int64_t lane = 0; lane < kLanes; ++lane) {
      lanes[lane] = larger(load(x + i + lane), lanes[lane]);
    }
  }
  for (std::int64_t i = whole; i < count; ++i) {
    lanes[i - whole] = larger(load(x + i), lanes[i - whole]);
  }
  float maximum = lanes[0];
  for (const float lane : lanes) {
    maximum = larger(lane, maximum);
  }
  return maximum;
}

/// Sum of e^(x*scale - shift). A row of a whole vocabulary is summed in blocks, so that the lanes' error stays small.
template <typename Element>
DORMER_INLINE double exponential_sum(const Element* x, std::int64_t count, float scale, float shift) {
  constexpr std::int64_t kBlock = 4'096;
  double total = 0.0;
  for (std::int64_t first = 0; first < count; first += kBlock) {
    const std::int64_t size = count - first < kBlock ? count - first : kBlock;
    const Element* from = x + first;
    float lanes[kLanes] = {};
    const std::int64_t whole = size - size % kLanes;
    for (std::int64_t i = 0; i < whole; i += kLanes) {
      for (std::int64_t lane = 0; lane < kLanes; ++lane) {
        lanes[lane] += exponential(load(from + i + lane) * scale - shift);
      }
    }
    for (std::int64_t i = whole; i < size; ++i) {
      lanes[i - whole] += exponential(load(from + i) * scale - shift);
    }
    total += static_cast<double>(fold_sum(lanes));
  }
  return total;
}

/// The first key that a position sees.
template <typename Element>
DORMER_INLINE std::int64_t first_visible(const CausalSoftmaxArguments<Element>& a, std::int64_t batch,
                                         std::int64_t position) {
  const std::int64_t window_begin = a.window > 0 && position >= a.window ? position - a.window + 1 : 0;
  const std::int64_t document_begin =
      a.document_begin != nullptr ? a.document_begin[batch / a.batches_per_sample * a.positions + position] : 0;
  return window_begin > document_begin ? window_begin : document_begin;
}

template <typename Element>
DORMER_INLINE void causal_softmax_rows(const CausalSoftmaxArguments<Element>& a, Range batch_rows) {
  for (std::int64_t index = batch_rows.begin; index < batch_rows.end; ++index) {
    const std::int64_t row = index % a.rows;
    Element* x = a.scores + index * a.keys;
    const std::int64_t position = a.first_position + row / a.rows_per_position;
    const std::int64_t end = position + 1 < a.keys ? position + 1 : a.keys;
    const std::int64_t begin = first_visible(a, index / a.rows, position);
    const float shift = row_maximum(x + begin, end - begin) * a.scale;
    const auto inverse = static_cast<float>(1.0 / exponential_sum(x + begin, end - begin, a.scale, shift));
    for (std::int64_t i = 0; i < begin; ++i) {
      store(x + i, 0.0F);
    }
    for (std::int64_t i = begin; i < end; ++i) {
      store(x + i, exponential(load(x + i) * a.scale - shift) * inverse);
    }
    for (std::int64_t i = end; i < a.keys; ++i) {
      store(x + i, 0.0F);
    }
  }
}

template <typename Element>
DORMER_INLINE void softmax_backward_rows(const SoftmaxBackwardArguments<Element>& a, Range rows) {
  for (std::int64_t row = rows.begin; row < rows.end; ++row) {
    const Element* p = a.probabilities + row * a.keys;
    Element* g = a.gradient + row * a.keys;
    float lanes[kLanes] = {};
    const std::int64_t whole = a.keys - a.keys % kLanes;
    for (std::int64_t i = 0; i < whole; i += kLanes) {
      for (std::int64_t lane = 0; lane < kLanes; ++lane) {
        lanes[lane] += load(p + i + lane) * load(g + i + lane);
      }
    }
    for (std::int64_t i = whole; i < a.keys; ++i) {
      lanes[i - whole] += load(p + i) * load(g + i);
    }
    const float dot = fold_sum(lanes);
    for (std::int64_t i = 0; i < a.keys; ++i) {
      store(g + i, load(p + i) * (load(g + i) - dot) * a.scale);
    }
  }
}

template <typename Element>
DORMER_INLINE void cross_entropy_rows(const CrossEntropyArguments<Element>& a, Range rows) {
  for (std::int64_t row = rows.begin; row < rows.end; ++row) {
    Element* x = a.logits + row * a.vocabulary;
    const std::int64_t target = a.targets[row];
    const bool counted = target >= 0;
    const float maximum = row_maximum(x, a.vocabulary);
    const double sum = exponential_sum(x, a.vocabulary, 1.0F, maximum);
    a.losses[row] =
        counted
            ? static_cast<float>(std::log(sum) + static_cast<double>(maximum) - static_cast<double>(load(x + target)))
            : 0.0F;
    if (!a.wants_gradient) {
      continue;
    }
    const float scale = counted ? a.gradient_scale : 0.0F;
    const auto factor = static_cast<float>(static_cast<double>(scale) / sum);
    const float at_target = counted ? exponential(load(x + target) - maximum) * factor - scale : 0.0F;
    for (std::int64_t i = 0; i < a.vocabulary; ++i) {
      store(x + i, exponential(load(x + i) - maximum) * factor);
    }
    if (counted) {
      store(x + target, at_target);
    }
  }
}

}  // namespace

DORMER_CLONES void compute_range(const CausalSoftmaxArguments<float>& arguments, Range batch_rows) {
  causal_softmax_rows(arguments, batch_rows);
}
DORMER_CLONES void compute_range(const CausalSoftmaxArguments<BFloat16>& arguments, Range batch_rows) {
  causal_softmax_rows(arguments, batch_rows);
}
DORMER_CLONES void compute_range(const SoftmaxBackwardArguments<float>& arguments, Range rows) {
  softmax_backward_rows(arguments, rows);
}
DORMER_CLONES void compute_range(const SoftmaxBackwardArguments<BFloat16>& arguments, Range rows) {
  softmax_backward_rows(arguments, rows);
}
DORMER_CLONES void compute_range(const CrossEntropyArguments<float>& arguments, Range rows) {
  cross_entropy_rows(arguments, rows);
}
DORMER_CLONES void compute_range(const CrossEntropyArguments<BFloat16>& arguments, Range rows) {
  cross_entropy_rows(arguments, rows);
}

}  // namespace dormer::kernels
