#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "layer_arrays.hpp"

/// Names in files of OneTrainer's dotted forms, as pure functions:
///   its own        unet.down_blocks.….lora_down.weight, text_encoder_2.…
///   OMI, until 2026  unet.input_blocks.…, transformer.double_blocks.0.img_attn.qkv.1.…, clip_l.…, clip_g.…, t5.…
///   ORIGINAL       double_blocks.0.img_attn.qkv.lora_A.weight, the denoiser alone
/// with a leading "base_model.model." and the ".default" that PEFT puts before ".weight". Its flat forms are kohya's,
/// its COMFY form is ComfyUI's, and its DIFFUSERS form is diffusers'.
namespace dormer::interop {

/// Which model of a pipeline a stem names.
struct OneTrainerStem {
  std::string component;  ///< "unet", …, "clip_l", "t5"; empty: none is named
  std::string path;       ///< dotted
};

/// The stem of an array's name and the tensor; see `ArrayMeaning`. Nothing for names that end in no tensor.
[[nodiscard]] std::optional<ArrayMeaning> parse_onetrainer_key(std::string_view name);
[[nodiscard]] OneTrainerStem parse_onetrainer_stem(std::string_view stem);

/// Whether the path is a numbered part of a layer that the model's own code has in one: "….img_attn.qkv.1".
[[nodiscard]] bool is_part(std::string_view path);

/// Whether a file with this array is of one of these forms and of no other program's.
[[nodiscard]] bool is_onetrainer_array(std::string_view name);

}  // namespace dormer::interop
