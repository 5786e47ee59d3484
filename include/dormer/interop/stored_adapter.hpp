#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "dormer/adapter/site.hpp"
#include "dormer/core/dtype.hpp"
#include "dormer/storage/safetensors.hpp"

namespace dormer::interop {

/// One array of an adapter's file, widened to fp32, row-major.
struct StoredArray {
  std::vector<std::int64_t> shape;
  std::vector<float> values;
};

/// What a file holds for one layer, in names and shapes that do not depend on the file's spelling. Factors by kind,
/// with r the rank and k… the kernel:
///   lora, locon  lora_A [r, in, k…], lora_B [out, r]; Tucker: lora_A [r, in], lora_mid [r, r, k…]
///   lora of an embedding  lora_embedding_A [r, vocabulary], lora_embedding_B [width, r]
///   loha         hada_w1_a [out, r], hada_w1_b [r, in * k…], hada_w2_a, hada_w2_b; Tucker: hada_t1, hada_t2 [r, r,
///   k…],
///                hada_w1_a [r, out], hada_w1_b [r, in]
///   lokr         lokr_w1 [l, p], or lokr_w1_a [l, r] and lokr_w1_b [r, p]; lokr_w2 [q, n, k…], or lokr_w2_a [q, r] and
///                lokr_w2_b [r, n * k…]; Tucker: lokr_t2 [r, r, k…], lokr_w2_a [r, q], lokr_w2_b [r, n]
///   full         weight, perhaps bias: what the layer has in the place of its own
///   bias         none: the weight stays as it is, and `bias` alone was trained
///   diff         diff [out, in, k…], perhaps diff_b [out]: what is added to the layer's own
/// Single taps of a pointwise kernel are no axes of lora_B; a convolution's lora_A keeps its kernel, [r, in, 1, 1] too.
struct StoredLayer {
  std::string kind;             ///< a word of the list above
  std::int64_t rank = 0;        ///< of its low-rank factors; 0: it has none
  std::optional<double> alpha;  ///< as the file says it; absent: the file does not
  double scale = 1.0;           ///< of Δ; 1 where nothing is low-rank
  DType dtype = DType::kF32;    ///< of the factors in the file
  std::map<std::string, StoredArray> factors{};
  std::optional<adapter::Axis> axis{};  ///< of the decomposition; absent: not decomposed
  std::vector<float> magnitude{};       ///< one for every norm of that axis
  std::vector<float> bias{};            ///< beside the factors: in the place of the layer's own; empty: that stays
  std::size_t kernel_axes = 0;          ///< of the layer's kernel, as far as the file tells; 0: none
};

/// Trained rows of an embedding or a head (PEFT's trainable_token_indices), in fp32, row-major.
struct StoredTokens {
  std::vector<std::int64_t> indices;  ///< token ids
  std::vector<float> rows;
};

/// Whose names the layers have.
enum class Naming : std::uint8_t {
  kHuggingFace,  ///< module paths of transformers and diffusers
  kNative,       ///< of the model's own code: SGM (SDXL), Black Forest Labs (Flux), MMDiT (SD3), where it differs
};

/// Which model the layers belong to, as far as their names tell.
enum class ModelFamily : std::uint8_t { kUnknown, kLanguage, kSd1, kSdxl, kSd3, kFlux };
[[nodiscard]] std::string_view name_of(ModelFamily family);  ///< "Stable Diffusion XL", …

/// An adapter as one file or folder holds it, of any form. Layers of diffusion models carry their component before the
/// module path: "unet.", "transformer.", "text_encoder.", "text_encoder_2.", "text_encoder_3."; those of language
/// models carry none.
struct StoredAdapter {
  ModelFamily family = ModelFamily::kUnknown;
  Naming naming = Naming::kHuggingFace;
  std::map<std::string, StoredLayer> layers{};   ///< by layer name
  std::map<std::string, StoredTokens> tokens{};  ///< "model.embed_tokens", and "lm_head" where it is not tied
  std::optional<std::string> base{};             ///< "org/name" of the model, where the file says so
  storage::Metadata metadata{};                  ///< the file's, as it stands there
  std::vector<std::string> warnings{};           ///< traps that the reader saw, a line each
  std::vector<std::string> left_out{};           ///< arrays that were not understood, where that was allowed

  [[nodiscard]] bool decomposed() const;  ///< whether any layer is
};

/// What a layer's numbers say of the weight: outputs and columns (input channels times taps; of an embedding: width and
/// vocabulary). Throws an input fault that names `name` for factors that do not fit each other. Pure.
struct StoredShape {
  std::int64_t out = 0;
  std::int64_t columns = 0;
};
[[nodiscard]] StoredShape shape_of(const std::string& name, const StoredLayer& layer);

/// Alpha that any reader turns into the layer's scale by alpha / rank: 1 rank where nothing is low-rank. Pure.
[[nodiscard]] double plain_alpha(const StoredLayer& layer);

}  // namespace dormer::interop
