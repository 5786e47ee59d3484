#pragma once

#include <filesystem>

#include "dormer/interop/adapter_format.hpp"
#include "dormer/interop/stored_adapter.hpp"

namespace dormer::interop {

inline constexpr const char* kDiffusersFile = "pytorch_lora_weights.safetensors";

/// Reads and validates diffusers' single file, or the folder that holds one: "<component>.<module path>.lora_A.weight"
/// and its kin, in the older spellings too. Scales are those of lora_adapter_metadata; without it every alpha is the
/// rank. dora_scale, which diffusers drops, is read with a warning. What diffusers would not compute is refused by name
/// (input faults).
[[nodiscard]] StoredAdapter read_diffusers(const std::filesystem::path& source, const ReadOptions& options = {});

/// Writes such a file whole or not at all, and reads it back. Every scale is in lora_B, alpha is the rank: right under
/// the rule of every reader, with lora_adapter_metadata and without. Throws as `require_diffusers` does.
void write_diffusers(const StoredAdapter& adapter, const std::filesystem::path& file, const WriteRequest& request);

/// Throws a usage error that names the way out where diffusers would not compute the adapter: layers of no part of an
/// image model, other kinds than LoRA and LoCon, Tucker forms, magnitudes of input channels or of some layers of a
/// part. Names may be of either naming.
void require_diffusers(const StoredAdapter& adapter);

}  // namespace dormer::interop
