#pragma once

#include <cstdint>
#include <string_view>

namespace dormer::report {

/// CRC-32C (Castagnoli, reflected polynomial 0x82F63B78) of `bytes`.
[[nodiscard]] std::uint32_t crc32c(std::string_view bytes);

/// As TFRecord files store it: rotated and shifted, so that a sum over bytes that hold sums stays one.
[[nodiscard]] std::uint32_t masked_crc32c(std::string_view bytes);

}  // namespace dormer::report
