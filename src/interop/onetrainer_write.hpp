#pragma once

#include <filesystem>

#include "dormer/interop/adapter_format.hpp"

namespace dormer::interop {

/// Writes OneTrainer's own form: the names that its modules have in memory, so that it loads every array as it is.
/// diffusers' layers, which are never fused there; LoHa's factors of convolutions with the axes that its modules give
/// them; alpha in fp32 for every layer. Usage errors: what has no place there.
void write_onetrainer(const StoredAdapter& adapter, const std::filesystem::path& target, const WriteRequest& request);

/// Throws a usage error, with the way out, for what OneTrainer has no module for or no single setting.
void require_onetrainer_computes(const StoredAdapter& adapter);

}  // namespace dormer::interop
