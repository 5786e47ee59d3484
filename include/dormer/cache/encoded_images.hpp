#pragma once

#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "dormer/cache/array_store.hpp"
#include "dormer/core/dtype.hpp"
#include "dormer/data/crop_plan.hpp"
#include "dormer/model/autoencoder.hpp"

namespace dormer::cache {

/// One image in one cut, to be encoded.
struct ImageJob {
  std::string key;  ///< `image_key`
  std::filesystem::path path;
  data::CropPlan crop;
};

/// What the latents of an image depend on: its bytes (`content`, a checksum), its cut, and the autoencoder with the
/// dtype that it computes in. Pure.
[[nodiscard]] std::string image_key(const std::string& autoencoder, DType dtype, const std::string& content,
                                    const data::CropPlan& crop);

/// Encodes every image and adds "mean" and "logvar" [channels, height / 8, width / 8] of its posterior, unscaled, to
/// the store; commits from time to time and at the end. Calls `progress` after each image, and stops, what is done
/// committed, when it answers false. A numerical error names an image whose latents are not finite.
void encode_images(const model::Autoencoder& autoencoder, std::span<const ImageJob> jobs, ArrayStore& store,
                   const std::function<bool()>& progress);

}  // namespace dormer::cache
