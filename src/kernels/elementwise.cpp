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
DORMER_CLONES void compute_range(const RotaryArguments<float>& arguments, Range batch_positions) {
  rotary_positions(arguments, batch_positions);
}
DORMER_CLONES void compute_range(const RotaryArguments<BFloat16>& arguments, Range batch_positions) {
  rotary_positions(arguments, batch_positions);
}

}  // namespace dormer::kernels
