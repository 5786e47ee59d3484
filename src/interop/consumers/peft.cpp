#include "dormer/interop/peft.hpp"
#include "dormer/interop/consumer.hpp"

namespace dormer::interop::consumers {

Consumer peft() {
  return {.doc = "Hugging Face PEFT: a folder for PeftModel.from_pretrained.",
          .format = "peft",
          .axes = {"output"},
          .kinds = {"lora", "locon", "loha", "lokr", "full", "bias"},
          .families = {ModelFamily::kLanguage},
          .added_tokens = true,
          .biases = true,
          .check = [](const StoredAdapter& adapter) { require_peft(adapter, {}); }};
}

}  // namespace dormer::interop::consumers
