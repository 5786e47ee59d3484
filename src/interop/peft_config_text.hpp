#pragma once

#include <string>

#include "dormer/interop/adapter_format.hpp"
#include "dormer/interop/stored_adapter.hpp"

namespace dormer::interop {

/// The adapter_config.json of an adapter that `require_peft` accepts.
[[nodiscard]] std::string peft_config_text(const StoredAdapter& adapter, const WriteRequest& request);

}  // namespace dormer::interop
