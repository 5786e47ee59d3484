#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>

#include "dormer/adapter/adapter_set.hpp"
#include "dormer/core/dtype.hpp"
#include "dormer/objective/next_token.hpp"

namespace dormer::cli {

/// What updates are measured on.
struct BenchmarkWork {
  std::filesystem::path model;
  DType dtype = DType::kF32;
  std::int64_t samples = 4;       ///< of one micro-batch, which is one update
  std::int64_t length = 256;      ///< of language models: tokens of a sample
  std::int64_t resolution = 512;  ///< of diffusion models: pixels of an image's sides
};

/// A frozen model with seeded random inputs. One kind for each kind of model.
class BenchmarkedModel {
 public:
  virtual ~BenchmarkedModel() = default;

  [[nodiscard]] virtual std::span<const adapter::FrozenLayer> layers() const = 0;
  /// Which layers get adapters, as `adapter.targets`.
  [[nodiscard]] virtual std::string targets() const = 0;
  /// What an update is made of: "tokens" or "images", and how many.
  [[nodiscard]] virtual std::string unit() const = 0;
  [[nodiscard]] virtual std::int64_t amount() const = 0;
  /// What every update does at least, and how it is called; asks the device and does not wait for it.
  [[nodiscard]] virtual std::string floor_name() const = 0;
  virtual void floor() const = 0;
  /// Draws the inputs of update `step`, outside of what is timed.
  virtual void draw(std::int64_t step) = 0;
  /// Forward and backward on what was drawn.
  [[nodiscard]] virtual objective::LossSums loss(const adapter::Pack& pack) const = 0;

 protected:
  BenchmarkedModel() = default;
  BenchmarkedModel(const BenchmarkedModel&) = delete;
  BenchmarkedModel& operator=(const BenchmarkedModel&) = delete;
};

/// By what lies in the folder: random tokens for a language model; random latents, texts and noise for a diffusion
/// model, of which only the denoiser is read. Model and inputs lie on `device`, as LibTorch writes it. Throws what
/// loading throws.
[[nodiscard]] std::unique_ptr<BenchmarkedModel> load_benchmarked_model(const BenchmarkWork& work,
                                                                       const std::string& device);

[[nodiscard]] std::unique_ptr<BenchmarkedModel> benchmarked_text(const BenchmarkWork& work, const std::string& device);
[[nodiscard]] std::unique_ptr<BenchmarkedModel> benchmarked_images(const BenchmarkWork& work,
                                                                   const std::string& device);

}  // namespace dormer::cli
