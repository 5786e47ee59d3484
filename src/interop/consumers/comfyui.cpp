#include "consumer_limits.hpp"
#include "dormer/interop/consumer.hpp"

namespace dormer::interop::consumers {

// The flat form, since ComfyUI reads it for every model; dotted names lack Stable Diffusion 1.x.
Consumer comfyui() {
  return {.doc =
              "ComfyUI. Output magnitudes are refused: it divides by the norm of the frozen weight alone (2025-04 to "
              "this day), or takes them for input ones (before).",
          .format = "kohya",
          .axes = {"input"},
          .kinds = {"lora", "locon", "loha", "lokr", "diff"},
          .families = {ModelFamily::kSd1, ModelFamily::kSdxl, ModelFamily::kSd3, ModelFamily::kFlux},
          .check = [](const StoredAdapter& adapter) { refuse_single_outputs("ComfyUI", adapter); }};
}

}  // namespace dormer::interop::consumers
