#pragma once

#include <string>
#include <string_view>

namespace dormer::storage {

/// A name from a foreign file, fit for one line of a message: no control characters, at most 80 bytes.
[[nodiscard]] inline std::string shown(std::string_view name) {
  std::string text(name.substr(0, 80));
  for (char& letter : text) {
    letter = static_cast<unsigned char>(letter) < 0x20 ? '?' : letter;
  }
  return name.size() > 80 ? text + "…" : text;
}

}  // namespace dormer::storage
