#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "dormer/interop/adapter_format.hpp"
#include "dormer/storage/safetensors.hpp"

/// Readers of files in which the name of every array tells a layer and one of its tensors.
namespace dormer::interop {

/// What an array's name means.
struct ArrayMeaning {
  std::string layer;   ///< layer name as `StoredAdapter` has it, component included
  std::string tensor;  ///< a canonical factor, "alpha", "dora_scale", or "magnitude": one number for every output
};
/// Nothing for a name that is not understood.
using MeaningOf = std::function<std::optional<ArrayMeaning>(const std::string& name)>;

/// Layers and metadata of the file; naming and family are the caller's to tell. Input faults: arrays that are not
/// understood (listed; left out where `options` allow it), tensors under two spellings, magnitudes of two axes or of
/// one that cannot be told, and what `read_array` and `finish_layer` refuse. Warns where some layers have no alpha.
[[nodiscard]] StoredAdapter read_layer_arrays(const storage::SafetensorsFile& file, const ReadOptions& options,
                                              const MeaningOf& meaning_of);

/// Whether `source` is a .safetensors file with a name for which `holds` is true. Reads the header alone.
[[nodiscard]] bool any_array(const std::filesystem::path& source,
                             const std::function<bool(const std::string& name)>& holds);

/// The first eight names, and how many more there are. Pure.
[[nodiscard]] std::string first_names(const std::vector<std::string>& names);

/// Says so where some low-rank layers have an alpha and others none.
void warn_of_missing_alphas(StoredAdapter& adapter);

}  // namespace dormer::interop
