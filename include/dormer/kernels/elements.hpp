#pragma once

#include <cmath>
#include <cstdint>

#include "dormer/kernels/dropout.hpp"
#include "dormer/kernels/optimizer_elements.hpp"
#include "dormer/kernels/rows.hpp"
#include "dormer/kernels/updates.hpp"

/// The arithmetic of the operations that treat every element alone: one function for host loops and GPU launches.
namespace dormer::kernels {

/// y = g * sigmoid(z(g)); `slope` is dz/dg and `complement` 1 - sigmoid, given e = e^-z.
struct Silu {
  static DORMER_HOST_DEVICE inline float argument(float gate) { return gate; }
  static DORMER_HOST_DEVICE inline float slope(float /*gate*/) { return 1.0F; }
  static DORMER_HOST_DEVICE inline float complement(float /*e*/, float sigmoid) { return 1.0F - sigmoid; }
};

struct GeluTanh {
  static constexpr float kTwiceRootTwoOverPi = 1.5957691216057308F;
  static constexpr float kCubic = 0.044715F;
  static DORMER_HOST_DEVICE inline float argument(float gate) {
    const float z = kTwiceRootTwoOverPi * (gate + kCubic * gate * gate * gate);
    return z < -80.0F ? -80.0F : z;  // e^-z stays finite
  }
  static DORMER_HOST_DEVICE inline float slope(float gate) {
    return kTwiceRootTwoOverPi * (1.0F + 3.0F * kCubic * gate * gate);
  }
  // The slope grows with the square of the gate: 1 - sigmoid would bring its rounding into the gradient.
  static DORMER_HOST_DEVICE inline float complement(float e, float sigmoid) { return e * sigmoid; }
};

template <typename Gate, typename Element>
DORMER_HOST_DEVICE inline void gated_element(const GatedUnitArguments<Element>& a, std::int64_t i) {
  const float gate = load(a.gate + i);
  const float sigmoid = 1.0F / (1.0F + exponential(-Gate::argument(gate)));
  store(a.y + i, gate * sigmoid * load(a.up + i));
}

template <typename Gate, typename Element>
DORMER_HOST_DEVICE inline void gated_backward_element(const GatedUnitBackwardArguments<Element>& a, std::int64_t i) {
  const float gate = load(a.gate + i);
  const float gradient = load(a.gradient + i);
  const float e = exponential(-Gate::argument(gate));
  const float sigmoid = 1.0F / (1.0F + e);
  store(a.up_gradient + i, gradient * gate * sigmoid);
  store(a.gate_gradient + i,
        gradient * load(a.up + i) * sigmoid * (1.0F + gate * Gate::complement(e, sigmoid) * Gate::slope(gate)));
}

template <typename Element>
DORMER_HOST_DEVICE inline void compute_element(const GatedUnitArguments<Element>& a, std::int64_t i) {
  if (a.function == GateFunction::kSilu) {
    gated_element<Silu>(a, i);
  } else {
    gated_element<GeluTanh>(a, i);
  }
}

template <typename Element>
DORMER_HOST_DEVICE inline void compute_element(const GatedUnitBackwardArguments<Element>& a, std::int64_t i) {
  if (a.function == GateFunction::kSilu) {
    gated_backward_element<Silu>(a, i);
  } else {
    gated_backward_element<GeluTanh>(a, i);
  }
}

// tanh(u) = 1 - 2 / (1 + e^2u) loses digits near zero; there the first five terms of its series are exact to fp32.
DORMER_HOST_DEVICE inline float hyperbolic_tangent(float u) {
  const float square = u * u;
  const float terms = 17.0F / 315.0F - square * (62.0F / 2835.0F);
  const float series = u * (1.0F - square * (1.0F / 3.0F - square * (2.0F / 15.0F - square * terms)));
  const float whole = 1.0F - 2.0F / (1.0F + exponential(2.0F * u));
  return square < 0.04F ? series : whole;
}

template <typename Element>
DORMER_HOST_DEVICE inline void compute_element(const SoftCapArguments<Element>& a, std::int64_t i) {
  const float inward = a.scale / a.cap;
  store(a.x + i, a.cap * hyperbolic_tangent(load(a.x + i) * inward));
}

template <typename Element>
DORMER_HOST_DEVICE inline void compute_element(const SoftCapBackwardArguments<Element>& a, std::int64_t i) {
  const float share = load(a.y + i) / a.cap;
  store(a.gradient + i, load(a.gradient + i) * a.scale * (1.0F - share * share));
}

/// Four neighbours share the words of one call.
template <typename Element>
DORMER_HOST_DEVICE inline void compute_element(const DropoutArguments<Element>& a, std::int64_t quad) {
  const PhiloxWords words = philox_words(a.mask.key, static_cast<std::uint64_t>(quad));
  for (std::int64_t i = 0; i < 4 && quad * 4 + i < a.count; ++i) {
    store(a.y + quad * 4 + i, load(a.x + quad * 4 + i) * a.mask.of_word(words.word[i]));
  }
}

DORMER_HOST_DEVICE inline void compute_element(const AdamWArguments& a, std::int64_t i) {
  const AdamWStep::State next = a.step({a.parameters[i], a.first_moments[i], a.second_moments[i]}, a.gradients[i]);
  a.parameters[i] = next.parameter;
  a.first_moments[i] = next.first_moment;
  a.second_moments[i] = next.second_moment;
}

DORMER_HOST_DEVICE inline void compute_element(const AddArguments& a, std::int64_t i) {
  a.sum[i] += a.other[i];
}

DORMER_HOST_DEVICE inline void compute_element(const FillArguments& a, std::int64_t i) {
  a.values[i] = a.value;
}

DORMER_HOST_DEVICE inline void compute_element(const NormsFromTermsArguments& a, std::int64_t row) {
  const float whole = a.base[row] + a.square[row];
  const float sum = whole + 2.0F * a.cross[row];
  a.norm[row] = std::sqrt(sum > 0.0F ? sum : 0.0F);
  a.cancels[row] = !(sum >= NormsFromTermsArguments::kCancellation * whole) && whole > 0.0F ? 1 : 0;
}

DORMER_HOST_DEVICE inline void compute_element(const MagnitudeFactorsArguments& a, std::int64_t row) {
  const bool zero_row = !(a.norm[row] > 0.0F);
  a.factor[row] = zero_row ? 1.0F : a.magnitude[row] / a.norm[row];
  a.inverse_norm[row] = zero_row ? 0.0F : 1.0F / a.norm[row];
  a.inverse_magnitude[row] = zero_row ? 0.0F : 1.0F / a.magnitude[row];
}

/// Whether an operation treats every element alone; the others are rows of a team.
template <typename Arguments>
concept ElementOperation = requires(const Arguments& arguments) {
  compute_element(arguments, std::int64_t{});
};

}  // namespace dormer::kernels
