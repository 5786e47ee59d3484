#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "dormer/adapter/adapter_set.hpp"
#include "dormer/core/dtype.hpp"
#include "dormer/tensor/forward.hpp"

namespace dormer::model {

struct TextEncoderFacts {
  std::string part;  ///< "text_encoder", "text_encoder_2"
  std::int64_t width = 0;
  std::int64_t layers = 0;
  std::int64_t positions = 77;
  std::int64_t vocabulary = 0;
  std::int64_t projection = 0;    ///< width of the pooled state; 0: it has no projection
  std::int64_t end_of_text = -1;  ///< token id at which the pooled state stands
  DType compute_dtype = DType::kF32;
};

struct TextRequest {
  const at::Tensor& tokens;         ///< int64 [samples, length], each sample with an end of text
  std::int64_t skipped_layers = 0;  ///< 0: the states of the last layer, 1: of the one before it, …
  bool normed = true;               ///< whether they pass the last norm
};

/// A frozen encoder of texts with sites for adapters. Immutable after loading.
class TextEncoder {
 public:
  virtual ~TextEncoder() = default;
  [[nodiscard]] virtual const TextEncoderFacts& facts() const = 0;
  /// The states that a denoiser reads, in the compute dtype: [samples, length, width], and where the encoder has a
  /// projection the pooled one, [samples, projection]: the last layer's normed state at the first end of text.
  [[nodiscard]] virtual std::vector<at::Tensor> encode(const TextRequest& request, const adapter::Pack& pack) const = 0;
};

}  // namespace dormer::model
