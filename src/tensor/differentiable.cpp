#include "dormer/tensor/differentiable.hpp"

#include <memory>
#include <string>
#include <type_traits>
#include <utility>

#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/functions/utils.h>

#include "dormer/core/error.hpp"

namespace dormer::tensor {
namespace {

/// Runs a `BackwardFunction` as a node of LibTorch's graph. A Node costs half of what custom_function.h costs to
/// compile and gives the same bits.
class FunctionNode final : public torch::autograd::Node {
 public:
  FunctionNode(std::string name, BackwardFunction backward) : name_(std::move(name)), backward_(std::move(backward)) {}

  torch::autograd::variable_list apply(torch::autograd::variable_list&& gradients) override {
    invariant(static_cast<bool>(backward_), "a graph was run backward twice: {}", name_);
    const std::size_t inputs = next_edges().size();
    if (!gradients.front().defined()) {
      return torch::autograd::variable_list(inputs);
    }
    std::vector<bool> wanted(inputs);
    for (std::size_t input = 0; input < inputs; ++input) {
      wanted[input] = task_should_compute_output(input);
    }
    const NoRecording guard;
    at::Tensor gradient = std::move(gradients.front());  // a second handle would keep `only_here` from seeing the last
    if (!gradient.is_contiguous()) {
      gradient = gradient.contiguous();
    }
    return backward_(gradient, wanted);
  }

  void release_variables() override { backward_ = nullptr; }
  std::string name() const override { return name_; }

 private:
  std::string name_;
  BackwardFunction backward_;
};

// LibTorch 2.11 shares its nodes by std::shared_ptr, later versions count references inside: the graph's edges tell
// which.
using NodeHandle = decltype(torch::autograd::Edge::function);

template <typename Handle>
Handle owned(FunctionNode* node) {
  if constexpr (std::is_same_v<Handle, std::shared_ptr<torch::autograd::Node>>) {
    return Handle(node, [](auto* finished) { deleteNode(finished); });  // found beside Node, where there is one
  } else {
    return Handle::unsafe_steal_from_new(node);
  }
}

}  // namespace

bool records(const std::vector<at::Tensor>& inputs) {
  if (!at::GradMode::is_enabled()) {
    return false;
  }
  for (const at::Tensor& input : inputs) {
    if (input.requires_grad()) {
      return true;
    }
  }
  return false;
}

void record(at::Tensor& output, const std::vector<at::Tensor>& inputs, const char* name, BackwardFunction backward) {
  if (!records(inputs)) {
    return;
  }
  const auto node = owned<NodeHandle>(new FunctionNode(name, std::move(backward)));
  torch::autograd::edge_list edges;
  edges.reserve(inputs.size());
  for (const at::Tensor& input : inputs) {
    edges.push_back(torch::autograd::impl::gradient_edge(input));
  }
  node->set_next_edges(std::move(edges));
  torch::autograd::set_history(output, node);
}

at::Tensor detached(const at::Tensor& values) {
  return values.detach();
}

bool only_here(const at::Tensor& gradient) {
  return gradient.use_count() == 1 && gradient.storage().use_count() == 1;
}

at::Tensor graph_anchor() {
  return at::empty({0}, at::kFloat).set_requires_grad(true);
}

void run_backward(const at::Tensor& output, const at::Tensor& gradient) {
  output.backward(gradient);
}

at::Tensor recomputed(const at::Tensor& x, std::function<at::Tensor(const at::Tensor& x)> body) {
  return recomputed(std::vector<at::Tensor>{x},
                    [body = std::move(body)](const std::vector<at::Tensor>& inputs) { return body(inputs.front()); });
}

at::Tensor recomputed(const std::vector<at::Tensor>& inputs,
                      std::function<at::Tensor(const std::vector<at::Tensor>& inputs)> body) {
  std::vector<at::Tensor> recorded = inputs;
  recorded.push_back(graph_anchor());  // parameters in `body` train even where no input does
  if (!records(recorded)) {
    return body(inputs);
  }
  std::vector<at::Tensor> kept;
  for (const at::Tensor& input : inputs) {
    kept.push_back(detached(input));
  }
  at::Tensor y;
  if (records(inputs)) {
    const NoRecording guard;
    y = detached(body(kept));
  } else {  // whether `body` has parameters is seen by what it records alone
    y = body(kept);
    if (!y.requires_grad()) {
      return y;
    }
    y = detached(y);
  }
  record(y, recorded, "Recomputed",
         [kept = std::move(kept), body = std::move(body)](const at::Tensor& gradient, const std::vector<bool>& wanted) {
           const at::AutoGradMode recording(true);
           std::vector<at::Tensor> leaves;
           for (std::size_t input = 0; input < kept.size(); ++input) {
             leaves.push_back(kept[input].detach());
             leaves.back().set_requires_grad(wanted[input]);
           }
           run_backward(body(leaves), gradient);
           std::vector<at::Tensor> gradients(kept.size() + 1);
           for (std::size_t input = 0; input < kept.size(); ++input) {
             gradients[input] = wanted[input] ? leaves[input].grad() : at::Tensor();
           }
           return gradients;
         });
  return y;
}

NoRecording::NoRecording() : before_(at::GradMode::is_enabled()) {
  at::GradMode::set_enabled(false);
}
NoRecording::~NoRecording() {
  at::GradMode::set_enabled(before_);
}

}  // namespace dormer::tensor
