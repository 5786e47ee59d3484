#include "consumer_limits.hpp"
#include "dormer/interop/consumer.hpp"

namespace dormer::interop::consumers {

Consumer forge() {
  return {
      .doc =
          "Stable Diffusion WebUI Forge. Output magnitudes are refused: it divides by the norm of the frozen weight "
          "alone.",
      .format = "kohya",
      .axes = {"input"},
      .kinds = {"lora", "locon", "loha", "lokr", "diff"},
      .families = {ModelFamily::kSd1, ModelFamily::kSdxl, ModelFamily::kSd3, ModelFamily::kFlux},
      .check = [](const StoredAdapter& adapter) { refuse_single_outputs("Forge", adapter); }};
}

}  // namespace dormer::interop::consumers
