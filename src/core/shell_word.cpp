#include "dormer/core/shell_word.hpp"

namespace dormer {

std::string shell_word(std::string_view text) {
  std::string result = "'";
  for (const char c : text) {
    result += c == '\'' ? "'\\''" : std::string(1, c);
  }
  return result + "'";
}

}  // namespace dormer
