#include "dormer/cache/encoded_images.hpp"

#include <cmath>

#include <fmt/format.h>

#include <ATen/core/Tensor.h>

#include "dormer/core/error.hpp"
#include "dormer/data/image.hpp"

namespace dormer::cache {
namespace {

constexpr std::int64_t kFileBytes = std::int64_t{32} << 20;

}  // namespace

std::string image_key(const std::string& autoencoder, DType dtype, const std::string& content,
                      const data::CropPlan& crop) {
  const std::vector<std::string> parts{
      "image", autoencoder, std::string(name_of(dtype)), content,
      fmt::format("{}x{} of {}x{} at {},{} in {}x{}{}", crop.scaled.width, crop.scaled.height, crop.original.width,
                  crop.original.height, crop.left, crop.top, crop.target.width, crop.target.height,
                  crop.flip ? " mirrored" : "")};
  return store_key(parts);
}

void encode_images(const model::Autoencoder& autoencoder, std::span<const ImageJob> jobs, ArrayStore& store,
                   const std::function<bool()>& progress) {
  const std::int64_t channels = autoencoder.facts().latent_channels;
  for (const ImageJob& job : jobs) {
    const at::Tensor image = data::load_image(job.path, job.crop).unsqueeze(0);
    const at::Tensor moments = autoencoder.encode(image).select(0, 0).cpu();
    require(std::isfinite(moments.sum().item<double>()), Fault::kNumerical,
            "{}: its latents are not finite; write model.vae_dtype: float32", job.path.string());
    store.add(job.key, "mean", moments.narrow(0, 0, channels));
    store.add(job.key, "logvar", moments.narrow(0, channels, channels));
    if (store.pending_bytes() >= kFileBytes) {
      store.commit();
    }
    if (!progress()) {
      break;
    }
  }
  store.commit();
}

}  // namespace dormer::cache
