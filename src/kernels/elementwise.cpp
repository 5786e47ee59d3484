#include "dormer/kernels/elements.hpp"
#include "dormer/kernels/rows.hpp"
#include "lanes.hpp"

namespace dormer::kernels {
namespace {

template <typename Arguments>
DORMER_INLINE void elements_of(const Arguments& arguments, Range elements) {
  for (std::int64_t i = elements.begin; i < elements.end; ++i) {
    compute_element(arguments, i);
  }
}

// The gate is chosen outside of the loop, so that the loop vectorizes.
template <typename Element>
DORMER_INLINE void gated_unit_elements(const GatedUnitArguments<Element>& a, Range elements) {
  if (a.function == GateFunction::kSilu) {
    for (std::int64_t i = elements.begin; i < elements.end; ++i) {
      gated_element<Silu>(a, i);
    }
  } else {
    for (std::int64_t i = elements.begin; i < elements.end; ++i) {
      gated_element<GeluTanh>(a, i);
    }
  }
}

template <typename Element>
DORMER_INLINE void gated_unit_backward_elements(const GatedUnitBackwardArguments<Element>& a, Range elements) {
  if (a.function == GateFunction::kSilu) {
    for (std::int64_t i = elements.begin; i < elements.end; ++i) {
      gated_backward_element<Silu>(a, i);
    }
  } else {
    for (std::int64_t i = elements.begin; i < elements.end; ++i) {
      gated_backward_element<GeluTanh>(a, i);
    }
  }
}

template <typename Element>
DORMER_INLINE void scale_columns_rows(const ScaleColumnsArguments<Element>& a, Range rows) {
  for (std::int64_t row = rows.begin; row < rows.end; ++row) {
    Element* y = a.y + row * a.width;
    if (a.bias == nullptr) {
      for (std::int64_t i = 0; i < a.width; ++i) {
        store(y + i, load(y + i) * a.factor[i]);
      }
    } else {
      for (std::int64_t i = 0; i < a.width; ++i) {
        store(y + i, load(y + i) * a.factor[i] + load(a.bias + i));
      }
    }
  }
}

// One block of up to 64 columns: its sums stay in registers or the nearest cache while the rows pass.
template <typename Element>
DORMER_INLINE void scale_columns_backward_block(const ScaleColumnsBackwardArguments<Element>& a, std::int64_t first,
                                                std::int64_t count) {
  constexpr std::int64_t kRows = 64;
  float totals[64] = {};
  float bias[64] = {};
  for (std::int64_t i = 0; a.bias != nullptr && i < count; ++i) {
    bias[i] = load(a.bias + first + i);
  }
  for (std::int64_t begin = 0; begin < a.rows; begin += kRows) {
    float sums[64] = {};
    const std::int64_t end = a.rows < begin + kRows ? a.rows : begin + kRows;
    for (std::int64_t row = begin; row < end; ++row) {
      const Element* g = a.gradient + row * a.width + first;
      const Element* y = a.y + row * a.width + first;
      Element* scaled = a.scaled + row * a.width + first;
      for (std::int64_t i = 0; i < count; ++i) {
        const float gradient = load(g + i);
        sums[i] += gradient * (load(y + i) - bias[i]);
        store(scaled + i, gradient * a.factor[first + i]);
      }
    }
    for (std::int64_t i = 0; i < count; ++i) {
      totals[i] += sums[i];
    }
  }
  for (std::int64_t i = 0; i < count; ++i) {
    a.product_sums[first + i] = totals[i];
  }
}

template <typename Element>
DORMER_INLINE void scale_columns_backward_range(const ScaleColumnsBackwardArguments<Element>& a, Range columns) {
  std::int64_t first = columns.begin;
  for (; first + 64 <= columns.end; first += 64) {
    scale_columns_backward_block(a, first, 64);
  }
  if (first < columns.end) {
    scale_columns_backward_block(a, first, columns.end - first);
  }
}

template <typename Element>
DORMER_INLINE void rotate_head(const Element* from, Element* to, const float* cosine, const float* sine,
                               std::int64_t half, float direction) {
  for (std::int64_t i = 0; i < half; ++i) {
    const float first = load(from + i);
    const float second = load(from + half + i);
    const float turn = direction * sine[i];
    store(to + i, first * cosine[i] - second * turn);
    store(to + half + i, second * cosine[i] + first * turn);
  }
}

template <typename Element>
DORMER_INLINE void rotary_positions(const RotaryArguments<Element>& a, Range batch_positions) {
  const std::int64_t half = a.width / 2;
  for (std::int64_t index = batch_positions.begin; index < batch_positions.end; ++index) {
    const std::int64_t batch = index / a.positions;
    const std::int64_t position = index % a.positions;
    const std::int64_t turn = (a.table_per_sample ? index : position) * half;
    for (std::int64_t group = 0; group < a.groups; ++group) {
      const std::int64_t token = (index * a.groups + group) * a.heads_per_group * a.width;
      const std::int64_t head = ((batch * a.groups + group) * a.positions + position) * a.heads_per_group * a.width;
      for (std::int64_t member = 0; member < a.heads_per_group; ++member) {
        const Element* from = a.from + (a.inverse ? head : token) + member * a.width;
        Element* to = a.to + (a.inverse ? token : head) + member * a.width;
        if (a.cosine != nullptr) {
          rotate_head(from, to, a.cosine + turn, a.sine + turn, half, a.inverse ? -1.0F : 1.0F);
        } else {
          for (std::int64_t i = 0; i < a.width; ++i) {
            to[i] = from[i];
          }
        }
      }
    }
  }
}

}  // namespace

DORMER_CLONES void compute_range(const GatedUnitArguments<float>& arguments, Range elements) {
  gated_unit_elements(arguments, elements);
}
DORMER_CLONES void compute_range(const GatedUnitArguments<BFloat16>& arguments, Range elements) {
  gated_unit_elements(arguments, elements);
}
DORMER_CLONES void compute_range(const GatedUnitBackwardArguments<float>& arguments, Range elements) {
  gated_unit_backward_elements(arguments, elements);
}
DORMER_CLONES void compute_range(const GatedUnitBackwardArguments<BFloat16>& arguments, Range elements) {
  gated_unit_backward_elements(arguments, elements);
}
DORMER_CLONES void compute_range(const SoftCapArguments<float>& arguments, Range elements) {
  elements_of(arguments, elements);
}
DORMER_CLONES void compute_range(const SoftCapArguments<BFloat16>& arguments, Range elements) {
  elements_of(arguments, elements);
}
DORMER_CLONES void compute_range(const SoftCapBackwardArguments<float>& arguments, Range elements) {
  elements_of(arguments, elements);
}
DORMER_CLONES void compute_range(const SoftCapBackwardArguments<BFloat16>& arguments, Range elements) {
  elements_of(arguments, elements);
}
DORMER_CLONES void compute_range(const ScaleColumnsArguments<float>& arguments, Range rows) {
  scale_columns_rows(arguments, rows);
}
DORMER_CLONES void compute_range(const ScaleColumnsArguments<BFloat16>& arguments, Range rows) {
  scale_columns_rows(arguments, rows);
}
DORMER_CLONES void compute_range(const ScaleColumnsBackwardArguments<float>& arguments, Range columns) {
  scale_columns_backward_range(arguments, columns);
}
DORMER_CLONES void compute_range(const ScaleColumnsBackwardArguments<BFloat16>& arguments, Range columns) {
  scale_columns_backward_range(arguments, columns);
}
DORMER_CLONES void compute_range(const RotaryArguments<float>& arguments, Range batch_positions) {
  rotary_positions(arguments, batch_positions);
}
DORMER_CLONES void compute_range(const RotaryArguments<BFloat16>& arguments, Range batch_positions) {
  rotary_positions(arguments, batch_positions);
}

}  // namespace dormer::kernels
