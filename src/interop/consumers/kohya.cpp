#include "dormer/interop/consumer.hpp"

namespace dormer::interop::consumers {

Consumer kohya() {
  return {.doc =
              "kohya's scripts, to train on: plain LoRA by networks.lora; everything else by lycoris.kohya, which must "
              "be given the ss_network_args of the file (algo, dora_wd, wd_on_output).",
          .format = "kohya",
          .axes = {"output", "input"},
          .kinds = {"lora", "locon", "loha", "lokr", "diff"},
          .families = {ModelFamily::kSd1, ModelFamily::kSdxl, ModelFamily::kSd3, ModelFamily::kFlux}};
}

}  // namespace dormer::interop::consumers
