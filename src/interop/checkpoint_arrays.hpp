#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

/// Where the parts of a diffusion model lie in a checkpoint of one file, as Stability's, Black Forest Labs' and
/// ComfyUI's have them.
namespace dormer::interop {

/// An array, or as many rows of it as the `part`-th of `parts` equal ones has.
struct ArrayPlace {
  std::string name;
  std::int64_t part = 0;
  std::int64_t parts = 1;
};

/// The place of a component's array ("input_blocks.1.1.proj_in.weight" of "unet"; CLIP's layers under transformers'
/// names, also where the file has OpenCLIP's, whose query, key and value are one array). A component is empty where the
/// file is one model without parts. Nothing where `has` knows none of the names that it can have. Pure.
[[nodiscard]] std::optional<ArrayPlace> place_in_checkpoint(std::string_view component, std::string_view array,
                                                            const std::function<bool(const std::string&)>& has);

}  // namespace dormer::interop
