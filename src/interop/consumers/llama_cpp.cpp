#include "dormer/interop/consumer.hpp"
#include "serving_limits.hpp"

namespace dormer::interop::consumers {

Consumer llama_cpp() {
  return {.doc = "llama.cpp: a PEFT folder for convert_lora_to_gguf.py.",
          .format = "peft",
          .kinds = {"lora"},
          .families = {ModelFamily::kLanguage},
          .check = [](const StoredAdapter& adapter) {
            require_linear_layers("llama_cpp", adapter);
            require_one_alpha("llama_cpp", adapter, false);
          }};
}

}  // namespace dormer::interop::consumers
