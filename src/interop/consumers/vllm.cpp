#include "dormer/interop/consumer.hpp"
#include "serving_limits.hpp"

namespace dormer::interop::consumers {

Consumer vllm() {
  return {.doc = "vLLM: a PEFT folder for --lora-modules; ranks above 16 need --max-lora-rank.",
          .format = "peft",
          .kinds = {"lora"},
          .families = {ModelFamily::kLanguage},
          .check = [](const StoredAdapter& adapter) {
            constexpr std::int64_t kLargestRank = 512;  // the last choice of max_lora_rank
            require_linear_layers("vllm", adapter);
            require_rank_at_most("vllm", adapter, kLargestRank);
            require_one_scale("vllm", adapter);
          }};
}

}  // namespace dormer::interop::consumers
