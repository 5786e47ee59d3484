#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "dormer/tensor/forward.hpp"

namespace dormer::tensor {

/// What a parameter is to the optimizer: groups of learning rates and decays follow it.
enum class ParameterRole : std::uint8_t { kFactorIn, kFactorOut, kMagnitude, kFull };

/// One trainable parameter. Ranks are padded to multiples of 16 along the first dimension, so that the values without
/// padding are a prefix of the stored ones; padding is zero and stays zero. LoRA's B is therefore stored transposed,
/// [rank, out].
struct ParameterEntry {
  std::string name;                        ///< "model.layers.0.self_attn.q_proj.lora_A"
  std::vector<std::int64_t> shape;         ///< without padding, row-major
  std::vector<std::int64_t> stored_shape;  ///< with padding of the first dimension
  ParameterRole role = ParameterRole::kFactorIn;
  std::int64_t offset = 0;                          ///< in elements, a multiple of 64
  std::optional<double> learning_rate{};            ///< of its own; absent: the optimizer's
  std::optional<std::int64_t> stop_after{};         ///< updates after which it stays as it is
  [[nodiscard]] std::int64_t count() const;         ///< elements without padding (prefix of the stored ones)
  [[nodiscard]] std::int64_t stored_count() const;  ///< elements with padding
};

/// All trainable parameters of one trial in one flat fp32 buffer, with one generation number: norm caches and guards
/// key on it, and whoever writes values says so through `mark_written`.
class FlatSpace {
 public:
  static constexpr std::int64_t kAlignment = 64;  ///< elements; start of every parameter
  static constexpr std::int64_t kNormBlock =
      4'096;  ///< elements; slices are whole blocks, the size is a multiple of it
  static constexpr std::int64_t kRankPadding = 16;

  FlatSpace();
  ~FlatSpace();
  FlatSpace(FlatSpace&&) noexcept;
  FlatSpace& operator=(FlatSpace&&) noexcept;

  /// Adds a parameter and returns its index. Only before `allocate`.
  std::size_t add(std::string name, std::vector<std::int64_t> shape, std::vector<std::int64_t> stored_shape,
                  ParameterRole role);
  /// What the parameters from `first` on are told about their updates. Only before `allocate`.
  void set_updates(std::size_t first, std::optional<double> learning_rate, std::optional<std::int64_t> stop_after);
  /// Allocates values (zero) on this device and ends the adding.
  void allocate(const std::string& device = "cpu");

  [[nodiscard]] std::span<const ParameterEntry> entries() const;
  /// Index of a parameter by name; throws a bug error for unknown names.
  [[nodiscard]] std::size_t index_of(const std::string& name) const;
  [[nodiscard]] bool contains(const std::string& name) const;
  [[nodiscard]] std::int64_t size() const;  ///< elements, with alignment and padding

  [[nodiscard]] const at::Tensor& values() const;           ///< fp32 [size]
  [[nodiscard]] at::Tensor value(std::size_t index) const;  ///< view of `values`, stored shape
  [[nodiscard]] static at::Tensor part(const at::Tensor& flat, const ParameterEntry& entry);  ///< stored shape
  [[nodiscard]] static at::Tensor unpadded_part(const at::Tensor& flat,
                                                const ParameterEntry& entry);  ///< shape, a view

  /// The flat buffer (fp32 [size]) into which backward passes add from now on.
  void bind_gradient(const at::Tensor& flat);
  [[nodiscard]] at::Tensor gradient(std::size_t index) const;  ///< view of the bound buffer, stored shape
  [[nodiscard]] bool has_gradient() const;
  /// Told by whoever adds gradients, on the thread that runs the backward pass, when an operation has added all that it
  /// has for a parameter. Null: nobody listens.
  using GradientListener = std::function<void(std::size_t index)>;
  void listen(GradientListener listener);
  void announce(std::size_t index) const;

  /// Says how many updates are done: parameters whose `stop_after` it has reached train no more.
  void set_updates_done(std::int64_t updates);
  /// Whether gradients are wanted. Backward passes leave the slots of others as they are: zero.
  [[nodiscard]] bool trains(std::size_t index) const;

  [[nodiscard]] std::uint64_t generation() const;
  void mark_written();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace dormer::tensor
