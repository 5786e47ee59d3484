#include "dormer/interop/consumer.hpp"
#include "serving_limits.hpp"

namespace dormer::interop::consumers {

Consumer tensorrt_llm() {
  return {.doc = "TensorRT-LLM: a PEFT folder as lora_dir.",
          .format = "peft",
          .kinds = {"lora"},
          .families = {ModelFamily::kLanguage},
          .check = [](const StoredAdapter& adapter) {
            // It passes over these without a word.
            require_linear_layers("tensorrt_llm", adapter, {"lm_head", "embed_tokens"});
            require_one_alpha("tensorrt_llm", adapter, true);
          }};
}

}  // namespace dormer::interop::consumers
