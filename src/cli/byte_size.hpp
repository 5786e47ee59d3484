#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace dormer::cli {

/// "12.3 MiB": the largest unit that leaves a number of at least 1.
[[nodiscard]] std::string byte_text(std::int64_t bytes);

/// "24GiB", "24 GiB", "80GB", "512MiB"; a bare number is bytes. Nothing for other texts and for less than one byte.
[[nodiscard]] std::optional<std::int64_t> parse_bytes(std::string_view text);

}  // namespace dormer::cli
