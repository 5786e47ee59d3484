#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "dormer/interop/adapter_format.hpp"
#include "dormer/interop/stored_adapter.hpp"

namespace dormer::interop {

/// Reads and validates a folder of adapter_config.json and adapter_model.safetensors: LoRA and DoRA of linear layers,
/// convolutions and embeddings, LoHa, LoKr, modules that were trained whole, trained rows of tokens. What its
/// configuration asks that we do not do is refused by name (input faults).
[[nodiscard]] StoredAdapter read_peft(const std::filesystem::path& folder, const ReadOptions& options = {});

/// Writes a folder that PEFT loads with `PeftModel.from_pretrained`: beside the target, then put in its place; the
/// tokenizer's files are copied into it. Reads it back and compares every byte before it is put there. What has no
/// place in such a folder, and a folder that stands there and is no PEFT folder, are usage errors.
void write_peft(const StoredAdapter& adapter, const std::filesystem::path& folder, const WriteRequest& request);

/// Throws a usage error that names the way out where a PEFT folder cannot say what the adapter is. `base` tells the
/// kernels of its layers, if it has them.
void require_peft(const StoredAdapter& adapter, const BaseFacts& base);

/// Bytes of the tokenizer files that an export copies from `folder`.
[[nodiscard]] std::int64_t tokenizer_bytes(const std::filesystem::path& folder);

/// `target_modules` that select exactly `chosen` of `all`: last parts of names where these do, else whole names. Pure.
[[nodiscard]] std::vector<std::string> peft_target_modules(std::span<const std::string> chosen,
                                                           std::span<const std::string> all);

}  // namespace dormer::interop
