#pragma once

#include <string>
#include <string_view>

namespace dormer {

/// One word for a shell, whatever `text` holds. Pure.
[[nodiscard]] std::string shell_word(std::string_view text);

}  // namespace dormer
