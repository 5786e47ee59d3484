#include "consumer_limits.hpp"
#include "dormer/interop/consumer.hpp"

namespace dormer::interop::consumers {

Consumer stable_diffusion_cpp() {
  return {.doc = "stable-diffusion.cpp: plain LoRA and LoCon; it passes over magnitudes.",
          .format = "kohya",
          .kinds = {"lora", "locon"},
          .families = {ModelFamily::kSd1, ModelFamily::kSdxl, ModelFamily::kSd3, ModelFamily::kFlux},
          .check = [](const StoredAdapter& adapter) { refuse_tucker("stable-diffusion.cpp", adapter); }};
}

}  // namespace dormer::interop::consumers
