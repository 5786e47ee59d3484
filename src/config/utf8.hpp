#pragma once

#include <cstddef>
#include <optional>
#include <string_view>

namespace dormer::config {

/// The offset of the first byte that does not belong to well-formed UTF-8 (overlong forms, surrogates and values above
/// U+10FFFF are not), or nullopt.
[[nodiscard]] std::optional<std::size_t> first_invalid_utf8(std::string_view text);

}  // namespace dormer::config
