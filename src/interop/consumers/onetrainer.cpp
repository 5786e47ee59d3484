#include "dormer/interop/consumer.hpp"
#include "onetrainer_write.hpp"

namespace dormer::interop::consumers {

Consumer onetrainer() {
  return {.doc =
              "OneTrainer, to train on: its settings must name the adapter's kind and rank; for magnitudes by output "
              "\"Apply on output axis (DoRA Only)\" (of a lokr \"Apply DoRA on Output Axis\") must be on, for those by "
              "input off.",
          .format = "onetrainer",
          .axes = {"input", "output"},
          .kinds = {"lora", "locon", "loha", "lokr"},
          .families = {ModelFamily::kSd1, ModelFamily::kSdxl, ModelFamily::kSd3, ModelFamily::kFlux},
          .check = require_onetrainer_computes};
}

}  // namespace dormer::interop::consumers
