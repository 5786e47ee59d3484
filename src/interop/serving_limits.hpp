#pragma once

#include <cstdint>
#include <string_view>

#include "dormer/interop/stored_adapter.hpp"

/// What programs that serve language models read of a PEFT folder: linear LoRA, and of its numbers not all. All throw
/// usage errors that name the way out.
namespace dormer::interop {

/// Embeddings, and names that end with one of `refused`.
void require_linear_layers(std::string_view consumer, const StoredAdapter& adapter,
                           std::initializer_list<std::string_view> refused = {});
/// alpha_pattern is not read: all layers must have one alpha. `rank_stabilized`: whether use_rslora is.
void require_one_alpha(std::string_view consumer, const StoredAdapter& adapter, bool rank_stabilized);
/// Neither pattern is read, and r of the configuration counts: all layers must have one scale.
void require_one_scale(std::string_view consumer, const StoredAdapter& adapter);
void require_rank_at_most(std::string_view consumer, const StoredAdapter& adapter, std::int64_t most);

}  // namespace dormer::interop
