#pragma once

#include <cstdint>

#include "dormer/kernels/rows.hpp"

/// What optimizers other than AdamW do with fp32 arrays; as updates.hpp. Scalars are made once per update, in fp64.
namespace dormer::kernels {

/// Lion (Chen et al. 2023, "Symbolic discovery of optimization algorithms"): a step of one length for every element,
/// along the sign of a mixture of gradient and moment.
struct LionArguments {
  float* parameters;
  float* moments;
  const float* gradients;
  struct Step {
    float gradient_scale = 1.0F;
    float decay = 1.0F;         ///< 1 - learning rate * weight decay
    float mixture_keep = 0.9F;  ///< beta1
    float mixture_weight = 0.1F;
    float keep = 0.99F;  ///< beta2
    float weight = 0.01F;
    float step_size = 0.0F;
  } step;
};
void compute_range(const LionArguments& arguments, Range elements);

/// AdamW without a schedule (Defazio et al. 2024, "The road less scheduled"). `points` (y) are where gradients are
/// taken, `bases` (z) where gradient steps go; the average x stands in neither: y = (1 - beta1) z + beta1 x.
struct ScheduleFreeArguments {
  float* points;
  float* bases;
  float* second_moments;
  const float* gradients;
  struct Step {
    float gradient_scale = 1.0F;
    float second_keep = 0.999F;
    float second_weight = 0.001F;
    float second_correction_root = 1.0F;  ///< sqrt(1 - beta2^t)
    float epsilon = 1e-8F;
    float weight_decay = 0.0F;
    float base_step = 0.0F;   ///< learning rate
    float point_step = 0.0F;  ///< learning rate * (1 - beta1 * (1 - mixture))
    float mixture = 1.0F;     ///< weight of z in the average, c of the paper
  } step;
};
void compute_range(const ScheduleFreeArguments& arguments, Range elements);

/// Prodigy's moments (Mishchenko and Defazio 2023): gradients are weighted with the estimated distance d.
struct ProdigyMomentsArguments {
  float* first_moments;
  float* second_moments;
  float* weighted_sums;  ///< s of the paper
  const float* gradients;
  struct Step {
    float gradient_scale = 1.0F;
    float first_keep = 0.9F;
    float first_weight = 0.0F;  ///< d (1 - beta1)
    float second_keep = 0.999F;
    float second_weight = 0.0F;  ///< d^2 (1 - beta2)
    float sum_keep = 0.999F;     ///< beta3
    float sum_weight = 0.0F;     ///< d / d0 times d, or times d and the learning rate
  } step;
};
void compute_range(const ProdigyMomentsArguments& arguments, Range elements);

/// sums[2b] = Σ gradient (anchor - parameter) and sums[2b + 1] = Σ |weighted sum| of block b in fp64: on the host
/// eight running sums, element i in sum i mod 8, added pairwise. The last block may be short.
struct ProdigySumsArguments {
  const float* parameters;
  const float* anchors;  ///< parameters as they were before the first update
  const float* weighted_sums;
  const float* gradients;
  double* sums;
  std::int64_t size;   // of all values
  std::int64_t width;  // values of a block
  float gradient_scale;
};
void compute_range(const ProdigySumsArguments& arguments, Range blocks);

/// parameter = decay * parameter - step_size * first / (root of second + epsilon).
struct ProdigyStepArguments {
  float* parameters;
  const float* first_moments;
  const float* second_moments;
  float decay;
  float step_size;  ///< d * learning rate, d of before this update's estimate
  float epsilon;    ///< d of after it times epsilon
};
void compute_range(const ProdigyStepArguments& arguments, Range elements);

/// Moments in eight bits. A block of 256 has its largest magnitude in fp32; an element is a code c of a power law, so
/// that small elements keep relative digits:
///
///   first moments    largest * sign * (|c| / 127)^2, c from -127 to 127, stored as c + 128
///   second moments   largest * (c / 255)^4, c from 0 to 255; what is not zero has at least 1: its root is divided by
///
/// An element between two codes becomes one of them by a random word, the nearer the likelier, so that the mean over
/// updates is right: rounding to nearest would lose every change below half of a code, such as the decay by beta2.
enum class MomentCode : std::uint8_t { kFirst, kSecond };
inline constexpr std::int64_t kMomentBlock = 256;

struct EncodeMomentsArguments {
  const float* values;
  std::uint8_t* codes;
  float* largest;
  std::int64_t size;         // of all values; the last block may be short
  std::int64_t width;        // kMomentBlock
  std::uint64_t key;         // of the random words
  std::uint64_t first_quad;  // counter of the first four elements; the others follow
  MomentCode code;
  bool nearest;  // no random words: what `DecodeMomentsArguments` gave finds its codes again, bit by bit
};
void compute_range(const EncodeMomentsArguments& arguments, Range blocks);

struct DecodeMomentsArguments {
  const std::uint8_t* codes;
  const float* largest;
  float* values;
  MomentCode code;
};
void compute_range(const DecodeMomentsArguments& arguments, Range elements);

}  // namespace dormer::kernels
