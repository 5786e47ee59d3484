#include "train/image_preparation.hpp"

#include <set>

#include "dormer/core/error.hpp"
#include "dormer/core/log.hpp"
#include "dormer/core/stop.hpp"
#include "dormer/train/fill_cache.hpp"
#include "dormer/train/pictures.hpp"
#include "train/agreement.hpp"
#include "train/image_folder.hpp"

namespace dormer::train {

namespace {

namespace fs = std::filesystem;

data::ConceptScan scan_images(const RunConfig& config) {
  const data::BadFiles policy =
      config.data.images.bad_files == "refuse" ? data::BadFiles::kRefuse : data::BadFiles::kSkip;
  return data::scan_concepts(config.data.images.concepts, policy);
}

void require_images(const RunConfig& config) {
  require(config.data.kind == "images", Fault::kUsage,
          "data.kind: {} has nothing that is computed once; dormer cache is for data.kind: images", config.data.kind);
}

}  // namespace

std::vector<std::string> texts_of(const RunConfig& config, const ImagePlan& plan) {
  const std::vector<std::string> captions = plan.drawn_captions();
  std::set<std::string> texts(captions.begin(), captions.end());
  if (config.samples.wanted()) {
    for (const data::PromptLine& line : prompt_lines(config.samples)) {
      texts.insert(line.prompt);
      texts.insert(line.negative.empty() ? config.samples.negative : line.negative);
    }
  }
  return {texts.begin(), texts.end()};
}

PreparedImages read_images(comm::Communicator& communicator, const RunConfig& config, const NumericChoice& numerics) {
  PreparedImages images;
  agree(communicator, [&] {
    images.folder = image_model_folder(config.model.path, config.text.tokenizer, config.objective.denoise.prediction);
    images.encoded = encoded_parts(config, images.folder, numerics.dtype);
    data::ConceptScan scan = scan_images(config);
    if (communicator.rank() == 0) {
      for (const std::string& line : scan.bad) {
        log::warn("left out: {}", line);
      }
    }
    images.plan.emplace(config, std::move(scan), images.encoded.latents.downscale);
    images.tokenizers = open_tokenizers(images.folder);
    if (!config.text.embeddings.empty()) {
      images.encoded.text.imported = std::make_shared<const cache::ImportedStates>(config.text.embeddings);
      images.encoded.text.imported->require_all(texts_of(config, *images.plan));
    }
    images.store = std::make_unique<cache::ArrayStore>(config.data.images.cache);
  });
  return images;
}

void encode_images(comm::Communicator& communicator, const PreparedImages& images, const Placement& placement,
                   const std::function<void()>& progress, EncodedShare share) {
  const auto goes_on = [&progress] {
    progress();
    return !stop_requested();
  };
  if (!encode_missing(communicator,
                      {.folder = images.folder,
                       .plan = *images.plan,
                       .parts = images.encoded,
                       .tokenizers = images.tokenizers,
                       .device = placement.device,
                       .share = share,
                       .goes_on = goes_on},
                      *images.store)) {
    fail_together(Fault::kRequeue,
                  "asked to stop while encoding; what was encoded stays, start the same command again");
  }
}

objective::DenoiseSettings settled_objective(const RunConfig& config, const PreparedImages& images,
                                             const model::ImageModel& model) {
  if (images.encoded.text.imported != nullptr) {
    images.encoded.text.imported->require_suited(model.denoiser()->facts());
  }
  objective::DenoiseSettings settings = config.objective.denoise;
  if (settings.prediction == "auto") {
    settings.prediction = model.noise().prediction;
  }
  require((settings.prediction == "flow") == (model.noise().prediction == "flow"), Fault::kUsage,
          "objective.prediction: {} does not go with the noise schedule of {}, which is of {}", settings.prediction,
          images.folder.string(), model.noise().prediction);
  require(settings.prediction != "flow" || settings.weighting.kind == "constant", Fault::kUsage,
          "objective.weighting.kind: {} is of models with betas; write constant for flow", settings.weighting.kind);
  require(!settings.zero_terminal_snr || settings.prediction == "v_prediction", Fault::kUsage,
          "objective.zero_terminal_snr: the last step has no signal, of which nothing can be told by prediction: {}; "
          "write prediction: v_prediction, or take it away",
          settings.prediction);
  return settings;
}

std::vector<std::string> list_texts(const RunConfig& config) {
  require_images(config);
  const fs::path folder =
      image_model_folder(config.model.path, config.text.tokenizer, config.objective.denoise.prediction);
  const EncodedParts parts = encoded_parts(config, folder, DType::kF32);
  return texts_of(config, ImagePlan(config, scan_images(config), parts.latents.downscale));
}

std::string fill_cache(const RunConfig& config, comm::Communicator& communicator, Heartbeat* heartbeat) {
  require_images(config);
  const auto enter = [heartbeat](std::string_view what) {
    if (heartbeat != nullptr) {
      heartbeat->enter(Heartbeat::Phase::kStart, what);
    }
  };
  const Placement placement = take_device(communicator, config.run.device);
  const NumericChoice numerics = choose_numerics(communicator, config, placement, nullptr);
  enter("reading the images");
  const PreparedImages images = read_images(communicator, config, numerics);
  enter("encoding");
  encode_images(communicator, images, placement, [heartbeat] {
    if (heartbeat != nullptr) {
      heartbeat->progress();
    }
  });
  return fmt::format("{}: {}", config.data.images.cache.string(), images.plan->summary());
}

}  // namespace dormer::train
