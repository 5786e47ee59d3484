#include "consumer_limits.hpp"
#include "dormer/interop/consumer.hpp"

namespace dormer::interop::consumers {

Consumer a1111() {
  return {.doc =
              "AUTOMATIC1111's WebUI since 1.10. Output magnitudes are refused: it takes them for input ones and makes "
              "noise.",
          .format = "kohya",
          .axes = {"input"},
          .kinds = {"lora", "locon", "loha", "lokr", "diff"},
          .families = {ModelFamily::kSd1, ModelFamily::kSdxl, ModelFamily::kSd3, ModelFamily::kFlux},
          .check = [](const StoredAdapter& adapter) {
            refuse_family("A1111", adapter, ModelFamily::kFlux, "forge or comfyui");
          }};
}

}  // namespace dormer::interop::consumers
