#include "dormer/interop/peft.hpp"

namespace dormer::interop::formats {

AdapterFormat peft() {
  return {.doc = "A folder of Hugging Face PEFT: adapter_model.safetensors, adapter_config.json and the tokenizer.",
          .recognizes =
              [](const std::filesystem::path& source) {
                std::error_code code;
                return std::filesystem::exists(source / "adapter_config.json", code);
              },
          .read = read_peft,
          .write = write_peft};
}

}  // namespace dormer::interop::formats
