#pragma once

#include <string>

#include "dormer/adapter/adapter_set.hpp"
#include "dormer/adapter/config.hpp"
#include "dormer/interop/adapter_format.hpp"
#include "dormer/interop/stored_adapter.hpp"

namespace dormer::interop {

/// What a trained adapter would be in a file: fp32, exact.
[[nodiscard]] StoredAdapter stored_from(const adapter::AdapterSet& adapters, const BaseFacts& base);

/// Sets the parameters so that the adapter's function is the stored one. Other layers, kinds, ranks, shapes, scales or
/// another axis than the run's are usage errors that name the lines to write; `where` names the file in them. A plain
/// adapter starts a decomposed run at its own function.
void load_into(adapter::AdapterSet& adapters, const StoredAdapter& stored, const std::string& where);

/// The configuration under which a model gets exactly the stored layers; `where` names the file in errors.
[[nodiscard]] adapter::AdapterConfig adapter_config_of(const StoredAdapter& stored, const std::string& where);

}  // namespace dormer::interop
