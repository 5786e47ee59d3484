#include "dormer/model/image_model.hpp"

#include <algorithm>
#include <array>
#include <functional>
#include <utility>

#include <fmt/ranges.h>

#include <ATen/core/Tensor.h>
#include <ATen/ops/cat.h>

#include "autoencoder_kl.hpp"
#include "clip_text.hpp"
#include "denoiser_family.hpp"
#include "dormer/core/atomic_file.hpp"
#include "dormer/core/error.hpp"
#include "dormer/core/json_extent.hpp"
#include "part_config.hpp"

namespace dormer::model {
namespace {

namespace fs = std::filesystem;

/// Those that a folder may have, in the order of their states.
constexpr std::array<const char*, 2> kTextEncoders{"text_encoder", "text_encoder_2"};

bool trains(const ImageModelRequest& request, std::string_view part) {
  return std::ranges::find(request.train, part) != request.train.end();
}

void require_parts(const fs::path& folder, const ImageModelRequest& request) {
  const std::vector<std::string> known = trainable_parts(folder);
  for (const std::string& part : request.train) {
    require(std::ranges::find(known, part) != known.end(), Fault::kUsage,
            "model.train: {} has no part '{}' that adapters can be trained on; known: {}", folder.string(), part,
            fmt::join(known, ", "));
  }
}

std::unique_ptr<Denoiser> load_denoiser(const fs::path& folder,
                                        const std::function<std::shared_ptr<LayerList>(std::string_view part)>& list_of,
                                        const Placement& placement) {
  const Registry<DenoiserFamily> families = denoiser_families();
  for (const auto& [name, family] : families.entries()) {
    const fs::path part = folder / family.part;
    if (!fs::exists(part / "config.json")) {
      continue;
    }
    const PartConfig config(part);
    const nlohmann::json& object = config.object();
    const std::string type = object.contains("_class_name") ? object.at("_class_name").dump() : "nothing";
    require(type == fmt::format("\"{}\"", family.class_name), Fault::kInput, "{}: _class_name is {}, known: {}",
            config.where(), type, family.class_name);
    ConfigFields fields(object);
    const storage::SafetensorsSet files = storage::SafetensorsSet::open_folder(part, "diffusion_pytorch_model");
    return family.load(fields, config.where(),
                       [&] { return LayerBuilder(files, std::string(family.part), list_of(family.part), placement); });
  }
  fail(Fault::kInput,
       "{} has neither unet/config.json nor transformer/config.json: it is no folder of a diffusion model that is "
       "known here",
       folder.string());
}

/// Python writes numbers that JSON has not (a solver's lambda_min_clipped is -Infinity): they become null.
std::string without_infinities(const std::string& text) {
  std::string result;
  bool quoted = false;
  for (std::size_t place = 0; place < text.size();) {
    const std::string_view rest = std::string_view(text).substr(place);
    const std::array<std::string_view, 3> words{"-Infinity", "Infinity", "NaN"};
    const auto word =
        std::ranges::find_if(words, [&](std::string_view each) { return !quoted && rest.starts_with(each); });
    if (word != words.end()) {
      result += "null";
      place += word->size();
      continue;
    }
    if (quoted && rest.front() == '\\' && rest.size() > 1) {
      result += rest.substr(0, 2);
      place += 2;
      continue;
    }
    quoted = quoted != (rest.front() == '"');
    result += rest.front();
    ++place;
  }
  return result;
}

}  // namespace

struct ImageModel::State {
  NoiseFacts noise;
  std::shared_ptr<LayerList> layers = std::make_shared<LayerList>(/*adapted=*/true);
  std::unique_ptr<Denoiser> denoiser;
  std::vector<std::unique_ptr<TextEncoder>> text_encoders;
  std::unique_ptr<Autoencoder> autoencoder;
};

ImageModel::ImageModel(const fs::path& folder, const ImageModelRequest& request) : state_(std::make_unique<State>()) {
  require_parts(folder, request);
  const fs::path scheduler = folder / "scheduler" / "scheduler_config.json";
  if (fs::exists(scheduler)) {
    state_->noise = read_noise_facts(read_file(scheduler, "the noise schedule's configuration"), scheduler.string());
  }
  const auto list_of = [&](std::string_view part) {
    return trains(request, part) ? state_->layers : std::make_shared<LayerList>(/*adapted=*/false);
  };
  if (request.denoiser) {
    state_->denoiser = load_denoiser(folder, list_of, request.placement);
  }
  for (const char* name : kTextEncoders) {
    if ((request.text_encoders || trains(request, name)) && fs::exists(folder / name / "config.json")) {
      state_->text_encoders.push_back(load_clip_text(folder / name, name, list_of(name), request.placement));
    }
  }
  if (request.autoencoder) {
    state_->autoencoder =
        load_autoencoder_kl(folder / "vae", {.dtype = request.autoencoder_dtype, .device = request.placement.device});
  }
}

ImageModel::~ImageModel() = default;

std::span<const adapter::FrozenLayer> ImageModel::layers() const {
  return state_->layers->layers();
}
const NoiseFacts& ImageModel::noise() const {
  return state_->noise;
}
const Denoiser* ImageModel::denoiser() const {
  return state_->denoiser.get();
}
const Autoencoder* ImageModel::autoencoder() const {
  return state_->autoencoder.get();
}
std::span<const std::unique_ptr<TextEncoder>> ImageModel::text_encoders() const {
  return state_->text_encoders;
}

TextConditions ImageModel::conditions(std::span<const at::Tensor> tokens, std::int64_t skipped,
                                      const adapter::Pack& pack) const {
  const std::size_t count = state_->text_encoders.size();
  invariant(count > 0 && tokens.size() == count, "{} token arrays for {} text encoders", tokens.size(), count);
  if (count == 1) {
    return {state_->text_encoders[0]->encode({.tokens = tokens[0], .skipped_layers = skipped}, pack)[0]};
  }
  std::vector<at::Tensor> states;
  std::vector<at::Tensor> pooled;
  for (std::size_t index = 0; index < count; ++index) {
    const std::vector<at::Tensor> encoded = state_->text_encoders[index]->encode(
        {.tokens = tokens[index], .skipped_layers = 1 + skipped, .normed = false}, pack);
    states.push_back(encoded[0]);
    if (state_->text_encoders[index]->facts().projection > 0) {
      pooled.push_back(encoded.back());
    }
  }
  require(!pooled.empty(), Fault::kInput,
          "no text encoder has a projection (text_projection.weight); fetch the model again");
  return {at::cat(states, 2), at::cat(pooled, 1)};
}

std::vector<std::string> timestep_spacings() {
  return {"leading", "linspace", "trailing"};
}

std::vector<std::string> trainable_parts(const fs::path& folder) {
  std::vector<std::string> parts;
  const Registry<DenoiserFamily> families = denoiser_families();
  for (const auto& [name, family] : families.entries()) {
    if (fs::exists(folder / family.part / "config.json")) {
      parts.emplace_back(family.part);
    }
  }
  for (const char* name : kTextEncoders) {
    if (fs::exists(folder / name / "config.json")) {
      parts.emplace_back(name);
    }
  }
  return parts;
}

NoiseFacts read_noise_facts(const std::string& text, const std::string& where) {
  require_shallow_json(text, where);
  const nlohmann::json object = nlohmann::json::parse(without_infinities(text), nullptr, false);
  require(object.is_object(), Fault::kInput, "{} is not a JSON object", where);
  ConfigFields fields(object);
  NoiseFacts facts;
  if (fields.has("_class_name") && object.at("_class_name") == "FlowMatchEulerDiscreteScheduler") {
    facts.prediction = "flow";
    facts.shift = fields.number("shift", 1.0);
    facts.steps = fields.size("num_train_timesteps", 1000);
    fields.refuse(fields.flag("use_dynamic_shifting", false), "use_dynamic_shifting is not supported");
    require_no_problems(fields, where);
    return facts;
  }
  const auto word = [&](const char* name, std::string fallback, const std::vector<std::string>& known) {
    const nlohmann::json value = fields.has(name) ? object.at(name) : nlohmann::json(std::move(fallback));
    const bool good = value.is_string() && std::ranges::find(known, value.get<std::string>()) != known.end();
    fields.refuse(!good, fmt::format("{} {} is not supported; known: {}", name, value.dump(), fmt::join(known, ", ")));
    return good ? value.get<std::string>() : std::string();
  };
  facts.prediction = word("prediction_type", "epsilon", {"epsilon", "v_prediction", "sample"});
  facts.betas = word("beta_schedule", "linear", {"linear", "scaled_linear", "squaredcos_cap_v2"});
  facts.first_beta = fields.number("beta_start", 0.0001);
  facts.last_beta = fields.number("beta_end", 0.02);
  facts.steps = fields.size("num_train_timesteps", 1000);
  facts.zero_terminal_snr = fields.flag("rescale_betas_zero_snr", false);
  facts.sampling.spacing = word("timestep_spacing", "leading", timestep_spacings());
  facts.sampling.ends_clean = fields.flag("set_alpha_to_one", false);
  const nlohmann::json offset = fields.has("steps_offset") ? object.at("steps_offset") : nlohmann::json(0);
  const bool counts = offset.is_number_integer() && offset >= 0 && offset < facts.steps;
  fields.refuse(!counts, fmt::format("steps_offset {} is not a number of steps", offset.dump()));
  facts.sampling.offset = counts ? offset.get<std::int64_t>() : 0;
  fields.refuse(fields.has("trained_betas"), "trained_betas is not supported");
  fields.refuse(facts.first_beta >= 1.0 || facts.last_beta >= 1.0, "betas must be below 1");
  require_no_problems(fields, where);
  return facts;
}

}  // namespace dormer::model
