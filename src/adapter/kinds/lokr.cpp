#include <memory>

#include "dormer/adapter/kinds.hpp"
#include "kronecker_change.hpp"

namespace dormer::adapter::kinds {

AdapterKind lokr() {
  return {.doc = "A Kronecker product of a small factor and a large one, which may be low-rank.",
          .forms = {LayerForm::kLinear, LayerForm::kConvolution},
          .options = {"tucker", "conv_rank", "conv_alpha", "factor", "decompose_both", "full_matrix"},
          .any_rank = true,
          .build = [](const ChangeRequest& request, tensor::FlatSpace& space) -> std::unique_ptr<Change> {
            return std::make_unique<KroneckerChange>(request, space);
          }};
}

}  // namespace dormer::adapter::kinds
