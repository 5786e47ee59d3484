#pragma once

#include <functional>
#include <vector>

#include "dormer/tensor/forward.hpp"

namespace dormer::tensor {

/// Given the output's gradient (contiguous, the output's shape) and which inputs want theirs, returns one gradient per
/// input (undefined where not wanted). Runs once, without recording, on the thread that called `backward`.
using BackwardFunction =
    std::function<std::vector<at::Tensor>(const at::Tensor& gradient, const std::vector<bool>& wanted)>;

/// Whether an operation on these inputs must be recorded: recording is on and one of them is part of a graph.
[[nodiscard]] bool records(const std::vector<at::Tensor>& inputs);

/// Makes `output`, a fresh tensor computed from `inputs`, part of the graph. What `backward` captured is freed after
/// its run. Capture an output only as `detached(output)`: capturing it as it is would never be freed.
void record(at::Tensor& output, const std::vector<at::Tensor>& inputs, const char* name, BackwardFunction backward);

/// The same memory outside the graph.
[[nodiscard]] at::Tensor detached(const at::Tensor& values);

/// Whether nothing beside this handle holds the gradient that a `BackwardFunction` is given, so that it may be
/// overwritten: no other operation, caller or view.
[[nodiscard]] bool only_here(const at::Tensor& gradient);

/// An empty tensor that is part of a graph. As a further input it makes an operation recorded whose trainable
/// parameters live in flat spaces, outside LibTorch's graph.
[[nodiscard]] at::Tensor graph_anchor();

/// Runs the recorded operations backward from `output` with this gradient.
void run_backward(const at::Tensor& output, const at::Tensor& gradient);

/// y = body(x), of which only x is kept: the backward pass runs `body` again and back through what it records then. The
/// bits are those of body(x). `body` reads nothing that changes before the backward pass, and holds what it needs.
[[nodiscard]] at::Tensor recomputed(const at::Tensor& x, std::function<at::Tensor(const at::Tensor& x)> body);
/// The same of several inputs. The gradient of an input that has other readers, too, has the bits that it would have
/// without if `body` reads it once: pass it once for every time, in the order in which the backward pass comes by.
[[nodiscard]] at::Tensor recomputed(const std::vector<at::Tensor>& inputs,
                                    std::function<at::Tensor(const std::vector<at::Tensor>& inputs)> body);

/// While it lives, nothing is recorded on this thread.
class NoRecording {
 public:
  NoRecording();
  ~NoRecording();
  NoRecording(const NoRecording&) = delete;
  NoRecording& operator=(const NoRecording&) = delete;

 private:
  bool before_;
};

}  // namespace dormer::tensor
