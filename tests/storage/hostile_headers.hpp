#pragma once

#include <string>
#include <vector>

namespace dormer::storage {

/// One crafted safetensors file: what we say to it, and what the reference implementation says.
struct CraftedFile {
  std::string name;
  std::string bytes;
  bool accepted = false;               ///< by us
  bool accepted_by_reference = false;  ///< safetensors 0.8.0; unlike ours only where we are stricter on purpose
  std::string difference;              ///< why, where the two differ
};

/// The table of hostile and odd headers: seeds of the fuzz test and a promise of its own.
[[nodiscard]] std::vector<CraftedFile> crafted_files();

}  // namespace dormer::storage
