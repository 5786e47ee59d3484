#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

namespace dormer::fuzz {

/// What a reader is given: bytes by file name.
using Files = std::map<std::string, std::string>;

/// A reader accepted an input and made something of it that the input does not hold.
class Unsound final : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// One reader of files that come from outside. For any bytes it may throw a `dormer::Error` of usage or input, or
/// return; nothing else, within memory and time that follow from the size of the files.
struct Reader {
  std::string name;  ///< also of the folder of its corpus
  bool on_disk;      ///< whether `read` wants the files in `folder`; else it looks at `files` alone
  std::function<void(const std::filesystem::path& folder, const Files& files)> read;
  std::vector<std::string> words{};  ///< lists in tests/fuzz/words: what its inputs are made of, pieces for the mutator
  std::function<void(Files&)> repair = {};  ///< makes sums right again that every change would break; may be null
};

/// All of them, one row each.
[[nodiscard]] std::vector<Reader> readers();

}  // namespace dormer::fuzz
