#pragma once

#include <cstddef>
#include <span>
#include <string>

namespace dormer::storage {

/// XXH3 with 128 bits (canonical byte order) as 32 lower-case hex digits. Finds accidents, not attackers.
[[nodiscard]] std::string xxh3_128(std::span<const std::byte> bytes);

}  // namespace dormer::storage
