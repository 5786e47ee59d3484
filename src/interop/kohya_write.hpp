#pragma once

#include <filesystem>

#include "dormer/interop/adapter_format.hpp"
#include "kohya_read.hpp"
#include "stored_values.hpp"

/// The writer of flat (kohya, LyCORIS) and dotted (ComfyUI) adapter files.
namespace dormer::interop {

/// Writes the file whole or not at all and compares its bytes on disk. Layers get the names that the form has for their
/// model (`renamed`). Every layer that is not a plain difference has an alpha that makes alpha / rank its scale, in
/// fp32 as magnitudes are, whatever the dtype of the factors. Usage errors: layers of no image model, added tokens,
/// embeddings, whole weights, magnitudes of two axes.
void write_kohya(const StoredAdapter& adapter, const std::filesystem::path& target, const WriteRequest& request,
                 KohyaSpelling spelling);

/// Throws the usage errors of `write_kohya` for these layers.
void require_kohya_names(const StoredAdapter& adapter, KohyaSpelling spelling);

/// The arrays of that file. `adapter` has the form's names already. Pure.
[[nodiscard]] ArrayList kohya_arrays(const StoredAdapter& adapter, DType dtype, KohyaSpelling spelling);

}  // namespace dormer::interop
