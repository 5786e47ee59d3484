#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "dormer/interop/stored_adapter.hpp"

/// Which names the layers of known models have, in every naming, and adapters brought from one naming to another. The
/// names themselves stand in names/, one file a model.
namespace dormer::interop {

/// "unet.down_blocks.0…" in two.
struct LayerName {
  std::string component;  ///< "unet", "transformer", "text_encoder", "text_encoder_2", "text_encoder_3", or empty
  std::string module;     ///< the path inside of it
};
/// A component only where the rest can be a part of it: "transformer.h.0" is a path of a language model. Pure, as all
/// here.
[[nodiscard]] LayerName split_component(std::string_view layer);

/// '.' to '_'.
[[nodiscard]] std::string flat_name(std::string_view module);
/// The dotted path of a flat one, by the path parts of the known models; nothing where a part is unknown. What it
/// returns has this flat name.
[[nodiscard]] std::optional<std::string> dotted_name(std::string_view flat);

/// The one model whose layers can have all these names, in either naming. Where several can, the file's metadata
/// (ss_base_model_version, modelspec.architecture) and then the widths of the released models decide; else it is
/// unknown. Layers without a component that no image model has are a language model's.
[[nodiscard]] ModelFamily family_of(const StoredAdapter& adapter);
/// The naming of the image model's layers; Hugging Face's where both namings agree. Both in one file are an input fault
/// that names one layer of each: programs drop one of the two.
[[nodiscard]] Naming naming_of(const StoredAdapter& adapter);

/// The same adapter under the other naming (text encoders and language models have the same names in both). Layers that
/// are one there are fused, and split the other way round, with the same change of every weight: exact but for one
/// rounding where scales differ. Rows are reordered where the namings order them differently. Alpha is alpha / rank ==
/// scale afterwards. Where the adapter says it has native naming, split parts with a number ("img_attn.qkv.0") count as
/// such.
/// Usage errors name the layer and the way out: names that the model does not have; magnitudes of the input axis, LoHa,
/// LoKr and unlike parts, which neither fuse nor split; parts missing beside decomposed ones.
[[nodiscard]] StoredAdapter renamed(const StoredAdapter& adapter, Naming naming);

}  // namespace dormer::interop
