#pragma once

#include <cstddef>
#include <span>

namespace dormer::data {

/// Whether an ICC profile calls itself sRGB in its description (ICC.1:2022, §9.2.41; also in the form of version 2).
/// Most images carry such a one, and converting from sRGB to sRGB would only round. False for what is no profile. Pure.
[[nodiscard]] bool is_srgb_profile(std::span<const std::byte> profile);

}  // namespace dormer::data
