#include "dormer/interop/peft.hpp"

namespace dormer::interop::formats {

AdapterFormat peft() {
  return {.doc = "A folder for Hugging Face PEFT: adapter_model.safetensors, adapter_config.json and the tokenizer.",
          .axes = {"output"},
          .kinds = {"lora", "full"},
          .added_tokens = true,
          .write = write_peft,
          .recognizes =
              [](const std::filesystem::path& source) {
                std::error_code code;
                return std::filesystem::exists(source / "adapter_config.json", code);
              },
          .load = load_peft_into};
}

}  // namespace dormer::interop::formats
