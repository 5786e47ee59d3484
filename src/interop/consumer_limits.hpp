#pragma once

#include <string_view>

#include "dormer/interop/stored_adapter.hpp"

/// Limits that several programs share; usage errors that name the way out.
namespace dormer::interop {

/// ComfyUI and Forge take magnitudes for those of the output axis where their first size is the weight's number of
/// outputs, so [1, channels] on a layer of one output too.
void refuse_single_outputs(std::string_view program, const StoredAdapter& adapter);
/// Tucker middles of convolutions (lora_mid).
void refuse_tucker(std::string_view program, const StoredAdapter& adapter);
void refuse_family(std::string_view program, const StoredAdapter& adapter, ModelFamily family,
                   std::string_view instead);

}  // namespace dormer::interop
