#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>

#include "dormer/interop/adapter_format.hpp"

/// The reader of flat (kohya, LyCORIS) and dotted (ComfyUI) adapter files, which hold the same tensors under other
/// names.
namespace dormer::interop {

enum class KohyaSpelling : std::uint8_t { kFlat, kDotted };

/// Whether any array of the file is one of a layer in this spelling. False for whatever is no .safetensors file.
[[nodiscard]] bool recognizes_kohya(const std::filesystem::path& source, KohyaSpelling spelling);

/// Input faults: arrays that are not understood (listed), PEFT's spelling of factors and magnitudes (other programs of
/// this form pass over them), names of two namings in one file, magnitudes of two axes or of one that neither shape nor
/// ss_network_args tells, and what `read_array` and `finish_layer` refuse.
[[nodiscard]] StoredAdapter read_kohya(const std::filesystem::path& source, const ReadOptions& options,
                                       KohyaSpelling spelling);

/// wd_on_output (LyCORIS before: wd_on_out) of ss_network_args; nothing where the file does not say it. Pure.
[[nodiscard]] std::optional<adapter::Axis> axis_of_metadata(const storage::Metadata& metadata);

}  // namespace dormer::interop
