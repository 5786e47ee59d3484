#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "dormer/adapter/site.hpp"

namespace dormer::adapter {

/// Site indices, rising, that `patterns` choose: all-linear, attention, mlp, attention-mlp, or glob patterns over names
/// ("*.q_proj", "q_proj"). Pure. Throws a usage error that names `key` and a pattern that matches nothing, with the
/// nearest names.
[[nodiscard]] std::vector<std::size_t> match_targets(std::string_view key, std::span<const std::string> patterns,
                                                     std::span<const Site> sites);

}  // namespace dormer::adapter
