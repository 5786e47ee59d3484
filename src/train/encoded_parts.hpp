#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "dormer/cache/array_store.hpp"
#include "dormer/cache/encoded_images.hpp"
#include "dormer/cache/encoded_texts.hpp"
#include "dormer/comm/communicator.hpp"
#include "dormer/core/dtype.hpp"
#include "dormer/data/clip_tokenizer.hpp"
#include "dormer/model/autoencoder.hpp"
#include "train/image_plan.hpp"

namespace dormer::train {

/// The frozen parts whose outputs are cached, and how they read: what keys of the cache are made of.
struct EncodedParts {
  std::string autoencoder;  ///< fingerprint
  DType autoencoder_dtype = DType::kF32;
  std::string text_encoders;  ///< fingerprints, one after the other
  DType text_dtype = DType::kF32;
  cache::TextRules text;
  model::AutoencoderFacts latents;

  [[nodiscard]] std::string image_key(const ImagePlan& plan, std::int64_t image, const data::CropPlan& crop) const;
  [[nodiscard]] std::string text_key(const cache::EncoderTokens& tokens) const;
};

/// Reads fingerprints and facts of a diffusers folder's parts.
[[nodiscard]] EncodedParts encoded_parts(const RunConfig& config, const std::filesystem::path& folder, DType dtype);

/// Fingerprints of a diffusers folder's text encoders, one after the other.
[[nodiscard]] std::string text_encoder_fingerprints(const std::filesystem::path& folder);

/// One tokenizer for each text encoder of the folder.
[[nodiscard]] std::vector<data::ClipTokenizer> open_tokenizers(const std::filesystem::path& folder);

/// Of what a plan can draw: all, or the held-out samples.
enum class EncodedShare : std::uint8_t { kAll, kHeldOut };

struct EncodeRequest {
  const std::filesystem::path& folder;
  const ImagePlan& plan;
  const EncodedParts& parts;
  std::span<const data::ClipTokenizer> tokenizers;
  std::string device = "cpu";
  EncodedShare share = EncodedShare::kAll;
  std::function<bool()> goes_on;  ///< asked after every image and text
};

/// Brings the cache up to what the plan can draw: every rank encodes its share of what is missing, without waiting for
/// another, and all read what all have made. Loads autoencoder and text encoders where something is missing alone. Says
/// how far it is. False if some rank did not go on: what was encoded stays. All ranks call; errors are those of all.
[[nodiscard]] bool encode_missing(comm::Communicator& communicator, const EncodeRequest& request,
                                  cache::ArrayStore& store);

}  // namespace dormer::train
