#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "dormer/adapter/adapter_set.hpp"
#include "dormer/core/dtype.hpp"
#include "dormer/interop/adapter_format.hpp"

namespace dormer::interop {

/// One adapted linear layer of a PEFT folder, in fp32, row-major.
struct PeftLayer {
  std::int64_t rank = 0;
  std::int64_t in = 0;
  std::int64_t out = 0;
  double alpha = 0.0;            ///< with patterns applied
  double scale = 1.0;            ///< of B A: alpha / rank, or alpha / sqrt(rank)
  std::vector<float> factor_a;   ///< [rank, in]
  std::vector<float> factor_b;   ///< [out, rank]
  std::vector<float> magnitude;  ///< [out], or empty
};

/// One module that was trained whole (PEFT's modules_to_save), in fp32.
struct PeftModule {
  std::vector<std::int64_t> shape;  ///< of the weight
  std::vector<float> weight;
  std::vector<float> bias;  ///< or empty
};

/// Trained rows of an embedding or a head (PEFT's trainable_token_indices), in fp32, row-major.
struct PeftTokens {
  std::vector<std::int64_t> indices;  ///< token ids
  std::vector<float> rows;
};

/// A PEFT folder: adapter_config.json and adapter_model.safetensors.
struct PeftAdapter {
  bool decompose = false;                   ///< use_dora
  std::map<std::string, PeftLayer> layers;  ///< by module path, without "base_model.model."
  std::map<std::string, PeftModule> modules{};
  std::map<std::string, PeftTokens> tokens{};  ///< "model.embed_tokens", and "lm_head" where it is not tied
};

/// Reads and validates a folder; what its config asks that we do not do is refused by name (input faults).
[[nodiscard]] PeftAdapter read_peft(const std::filesystem::path& folder);

/// Writes a folder that PEFT loads with `PeftModel.from_pretrained`: beside the target, then put in its place;
/// tokenizer files are copied into it. Reads it back and compares every byte before it is put there. A folder that
/// stands there and is no PEFT folder is not replaced (usage error).
void write_peft(const adapter::AdapterSet& adapters, const std::filesystem::path& folder, const BaseFacts& base,
                DType dtype);

/// Bytes of the tokenizer files that an export copies from `folder`.
[[nodiscard]] std::int64_t tokenizer_bytes(const std::filesystem::path& folder);

/// Sets A, B and magnitudes so that the function is the folder's. A folder without magnitudes starts a decomposed run
/// at its own function. Other layers, ranks, shapes or scales than the run's are usage errors that name the lines to
/// write.
void load_peft_into(adapter::AdapterSet& adapters, const std::filesystem::path& folder);

/// `target_modules` that select exactly `chosen` of `all`: last parts of names where these do, else whole names. Pure.
[[nodiscard]] std::vector<std::string> peft_target_modules(std::span<const std::string> chosen,
                                                           std::span<const std::string> all);

}  // namespace dormer::interop
