#include "dormer/interop/diffusers.hpp"

#include "diffusers_names.hpp"
#include "layer_arrays.hpp"

namespace dormer::interop::formats {
namespace {

bool recognizes(const std::filesystem::path& source) {
  std::error_code code;
  if (std::filesystem::is_directory(source, code)) {
    return std::filesystem::exists(source / kDiffusersFile, code);
  }
  return any_array(source, [](const std::string& name) {
    const auto key = parse_diffusers_key(name);
    return key && (key->factor == "lora_A" || key->factor == "lora_B");
  });
}

}  // namespace

AdapterFormat diffusers() {
  return {
      .doc = "diffusers' single file, pytorch_lora_weights.safetensors: dotted paths of diffusers and transformers.",
      .file_name = kDiffusersFile,
      .recognizes = recognizes,
      .read = read_diffusers,
      .write = write_diffusers};
}

}  // namespace dormer::interop::formats
