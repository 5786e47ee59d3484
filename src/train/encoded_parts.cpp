#include "train/encoded_parts.hpp"

#include <chrono>
#include <set>

#include <fmt/format.h>

#include "dormer/core/error.hpp"
#include "dormer/core/log.hpp"
#include "dormer/model/image_model.hpp"
#include "train/agreement.hpp"
#include "train/fingerprint.hpp"

namespace dormer::train {
namespace {

namespace fs = std::filesystem;

constexpr std::chrono::seconds kBetweenLines{10};

/// Every `ranks`-th of what is missing: neighbours are alike, so shares are.
template <typename Job>
std::vector<Job> share_of(const std::vector<Job>& all, const comm::Communicator& communicator) {
  std::vector<Job> own;
  for (std::size_t index = static_cast<std::size_t>(communicator.rank()); index < all.size();
       index += static_cast<std::size_t>(communicator.size())) {
    own.push_back(all[index]);
  }
  return own;
}

std::vector<cache::ImageJob> missing_images(const EncodeRequest& request, const cache::ArrayStore& store) {
  std::vector<cache::ImageJob> jobs;
  std::set<std::string> seen;
  for (const ImagePlan::Cut& cut :
       request.share == EncodedShare::kHeldOut ? request.plan.held_out_cuts() : request.plan.all_cuts()) {
    const std::string key = request.parts.image_key(request.plan, cut.image, cut.crop);
    if (!store.contains(key) && seen.insert(key).second) {
      jobs.push_back({key, request.plan.images()[static_cast<std::size_t>(cut.image)].file.path, cut.crop});
    }
  }
  return jobs;
}

std::vector<cache::TextJob> missing_texts(const EncodeRequest& request, const cache::ArrayStore& store) {
  std::vector<cache::TextJob> jobs;
  std::set<std::string> seen;
  for (const std::string& text :
       request.share == EncodedShare::kHeldOut ? request.plan.held_out_captions() : request.plan.all_captions()) {
    cache::EncoderTokens tokens = cache::tokens_of(text, request.tokenizers, request.parts.text);
    const std::string key = request.parts.text_key(tokens);
    if (!store.contains(key) && seen.insert(key).second) {
      jobs.push_back({key, std::move(tokens)});
    }
  }
  return jobs;
}

/// Says from time to time how much of the own share is done.
class Counter {
 public:
  Counter(const char* what, std::size_t count, const std::function<bool()>& goes_on)
      : what_(what), count_(count), goes_on_(goes_on) {}
  bool operator()() {
    ++done_;
    const auto now = std::chrono::steady_clock::now();
    if (now - last_ > kBetweenLines) {
      last_ = now;
      const double seconds = std::chrono::duration<double>(now - begin_).count();
      log::info("encoding: {} of {} {}, {:.2f} a second", done_, count_, what_, static_cast<double>(done_) / seconds);
    }
    return !goes_on_ || goes_on_();
  }
  [[nodiscard]] bool complete() const { return done_ == count_; }

 private:
  const char* what_;
  std::size_t count_;
  const std::function<bool()>& goes_on_;
  std::size_t done_ = 0;
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
  std::chrono::steady_clock::time_point last_ = begin_;
};

bool encode_share(const EncodeRequest& request, std::span<const cache::ImageJob> images,
                  std::span<const cache::TextJob> texts, cache::ArrayStore& store) {
  Counter image_counter("images", images.size(), request.goes_on);
  Counter text_counter("texts", texts.size(), request.goes_on);
  if (!texts.empty()) {
    const model::ImageModel model(request.folder, {.train = {},
                                                   .placement = {request.parts.text_dtype, request.device},
                                                   .denoiser = false,
                                                   .autoencoder = false});
    cache::encode_texts(model, texts, request.parts.text, store, [&] { return text_counter(); });
  }
  if (!images.empty() && text_counter.complete()) {
    const model::ImageModel model(request.folder, {.train = {},
                                                   .placement = {request.parts.text_dtype, request.device},
                                                   .autoencoder_dtype = request.parts.autoencoder_dtype,
                                                   .denoiser = false,
                                                   .text_encoders = false});
    cache::encode_images(*model.autoencoder(), images, store, [&] { return image_counter(); });
  }
  return image_counter.complete() && text_counter.complete();
}

}  // namespace

std::string EncodedParts::image_key(const ImagePlan& plan, std::int64_t image, const data::CropPlan& crop) const {
  return cache::image_key(autoencoder, autoencoder_dtype,
                          plan.images().at(static_cast<std::size_t>(image)).entry.content, crop);
}

std::string EncodedParts::text_key(const cache::EncoderTokens& tokens) const {
  return cache::text_key(text_encoders, text_dtype, tokens, text);
}

std::string text_encoder_fingerprints(const fs::path& folder) {
  std::string prints;
  for (const char* name : {"text_encoder", "text_encoder_2"}) {
    if (fs::exists(folder / name / "config.json")) {
      prints += part_fingerprint(folder / name, "model");
    }
  }
  return prints;
}

EncodedParts encoded_parts(const RunConfig& config, const fs::path& folder, DType dtype) {
  EncodedParts parts;
  parts.autoencoder = part_fingerprint(folder / "vae", "diffusion_pytorch_model");
  parts.autoencoder_dtype = dtype_from_name(config.model.vae_dtype).value();
  parts.text_encoders = text_encoder_fingerprints(folder);
  parts.text_dtype = dtype;
  parts.text = {.skipped_layers = config.text.clip_skip, .max_tokens = config.text.max_tokens};
  const model::ImageModel shapes(
      folder, {.train = {}, .placement = {dtype, "meta"}, .denoiser = false, .text_encoders = false});
  parts.latents = shapes.autoencoder()->facts();
  return parts;
}

std::vector<data::ClipTokenizer> open_tokenizers(const fs::path& folder) {
  std::vector<data::ClipTokenizer> tokenizers;
  for (const auto& [encoder, name] : {std::pair{"text_encoder", "tokenizer"}, {"text_encoder_2", "tokenizer_2"}}) {
    if (fs::exists(folder / encoder / "config.json")) {
      tokenizers.push_back(data::ClipTokenizer::open(folder / name));
    }
  }
  require(!tokenizers.empty(), Fault::kInput, "{} has no text_encoder/config.json", folder.string());
  return tokenizers;
}

bool encode_missing(comm::Communicator& communicator, const EncodeRequest& request, cache::ArrayStore& store) {
  bool complete = true;
  std::size_t all = 0;
  agree(communicator, [&] {
    const std::vector<cache::ImageJob> images = missing_images(request, store);
    const std::vector<cache::TextJob> texts = missing_texts(request, store);
    all = images.size() + texts.size();
    if (all > 0) {
      log::info("encoding {} images and {} texts that the cache has not", images.size(), texts.size());
      complete = encode_share(request, share_of(images, communicator), share_of(texts, communicator), store);
    }
  });
  if (on_any_rank(communicator, !complete)) {
    return false;
  }
  agree(communicator, [&] { store.refresh(); });
  return true;
}

}  // namespace dormer::train
