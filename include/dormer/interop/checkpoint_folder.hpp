#pragma once

#include <filesystem>
#include <string>

namespace dormer::interop {

/// A diffusion model in one file, as Stability's programs and the WebUIs have them.
struct CheckpointFile {
  std::filesystem::path file;       ///< .safetensors
  std::filesystem::path tokenizer;  ///< a folder with CLIP's vocabulary; the file holds none
  std::string prediction;           ///< epsilon | v_prediction; empty or auto: what the file says
};

/// A folder of diffusers that stands for the file: configurations, and views of its arrays under diffusers' names; the
/// weights stay where they are. It lies in `place`/NAME-HASH, is made by whoever comes first and found again
/// afterwards. Any number of processes may call. Stable Diffusion 1.x, 2.x, XL, 3 and 3.5; sizes come from the arrays'
/// shapes, what no shape tells from the family. Input errors name what the file lacks or is; usage errors ask for
/// `tokenizer`, and for `prediction` where the file leaves it open.
[[nodiscard]] std::filesystem::path checkpoint_folder(const CheckpointFile& checkpoint,
                                                      const std::filesystem::path& place);

/// Where such folders are kept: $XDG_CACHE_HOME/dormer, ~/.cache/dormer, or dormer in the system's temporary folder.
[[nodiscard]] std::filesystem::path default_checkpoint_place();

}  // namespace dormer::interop
