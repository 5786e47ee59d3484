// What the peer tests ask the parts of a diffusion model, in fp32 unless said otherwise:
//   diffusion_probe autoencoder FOLDER IN OUT        "moments" of "images", "images" of "latents"
//   diffusion_probe conditions  MODEL  IN OUT SKIP   "states" and "pooled" of "tokens.0", "tokens.1"
//   diffusion_probe denoise     MODEL  IN OUT        "prediction" for "latents", "timesteps", "text", "pooled", "sizes"
//   diffusion_probe schedule    MODEL  IN OUT        "signal" of every step of the noise schedule
//   diffusion_probe sampler     MODEL  IN OUT KIND   "latents" after every step from "start" with "noise.K" where the
//   kind takes
//                                                   some; the denoiser is 0.3 tanh(x) + t / 5000, "steps" has their
//                                                   number
//   diffusion_probe start       MODEL  IN OUT SEED   the "noise" that pictures of this seed begin with, of the shape of
//   "like" diffusion_probe gradients   MODEL  IN OUT YAML   the same with an adapter (YAML is its section): values
//   "value.NAME", seeded and
//                                                away from their start, and their gradients "gradient.NAME" of the mean
//                                                square of prediction - "target"
// IN and OUT are safetensors files.

#include <cstdio>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/mean.h>
#include <ATen/ops/sub.h>
#include <ATen/ops/zeros.h>
#include <fmt/format.h>

#include "dormer/adapter/adapter_set.hpp"
#include "dormer/config/read.hpp"
#include "dormer/core/error.hpp"
#include "dormer/data/normal_numbers.hpp"
#include "dormer/inference/image_sampler.hpp"
#include "dormer/model/image_model.hpp"
#include "dormer/model/noise_schedule.hpp"
#include "dormer/storage/safetensors.hpp"
#include "dormer/tensor/differentiable.hpp"

namespace dormer {
namespace {

class Input {
 public:
  explicit Input(const std::filesystem::path& path) : file_(storage::SafetensorsFile::open(path)) {}
  [[nodiscard]] bool has(const std::string& name) const { return file_->find(name) != nullptr; }
  [[nodiscard]] at::Tensor get(const std::string& name, at::ScalarType type = at::kFloat) const {
    const storage::TensorEntry* entry = file_->find(name);
    require(entry != nullptr, Fault::kInput, "the input has no {}", name);
    // NOLINTNEXTLINE(cppcoreguidelines-pro-type-const-cast): cloned at once
    return at::from_blob(const_cast<std::byte*>(file_->bytes(*entry).data()), entry->shape, type).clone();
  }

 private:
  std::shared_ptr<const storage::SafetensorsFile> file_;
};

class Output {
 public:
  void add(const std::string& name, const at::Tensor& values) {
    const at::Tensor& kept = kept_.emplace_back(values.to(at::kFloat).contiguous());
    arrays_.push_back({.name = name,
                       .dtype = DType::kF32,
                       .shape = {kept.sizes().begin(), kept.sizes().end()},
                       .bytes = {static_cast<const std::byte*>(kept.const_data_ptr()), kept.nbytes()}});
  }
  void write(const std::filesystem::path& path) const { storage::write_safetensors(path, arrays_, {}); }

 private:
  std::vector<at::Tensor> kept_;
  std::vector<storage::NamedArray> arrays_;
};

struct Arguments {
  std::filesystem::path model;
  Input input;
  std::filesystem::path out;
  std::string extra;
};

void autoencoder(const Arguments& arguments) {
  const model::ImageModel model(arguments.model,
                                {.train = {}, .denoiser = false, .text_encoders = false, .autoencoder = true});
  Output output;
  output.add("moments", model.autoencoder()->encode(arguments.input.get("images")));
  output.add("images", model.autoencoder()->decode(arguments.input.get("latents")));
  output.write(arguments.out);
}

void conditions(const Arguments& arguments) {
  const model::ImageModel model(arguments.model,
                                {.train = {}, .denoiser = false, .text_encoders = true, .autoencoder = false});
  std::vector<at::Tensor> tokens;
  for (std::size_t index = 0; index < model.text_encoders().size(); ++index) {
    tokens.push_back(arguments.input.get(fmt::format("tokens.{}", index), at::kLong));
  }
  const model::TextConditions found =
      model.conditions(tokens, std::stoll(arguments.extra), adapter::Pack::solo(nullptr, tokens.front().size(0)));
  Output output;
  output.add("states", found.at(0));
  if (found.size() > 1) {
    output.add("pooled", found.at(1));
  }
  output.write(arguments.out);
}

at::Tensor predict(const model::ImageModel& model, const Input& input, const adapter::Pack& pack) {
  const at::Tensor latents = input.get("latents");
  const at::Tensor timesteps = input.get("timesteps");
  const at::Tensor text = input.get("text");
  at::Tensor pooled;
  at::Tensor sizes;
  model::DenoiserInput request{.latents = latents, .timesteps = timesteps, .text = text};
  if (input.has("pooled")) {
    pooled = input.get("pooled");
    request.pooled = &pooled;
  }
  if (input.has("sizes")) {
    sizes = input.get("sizes");
    request.sizes = &sizes;
  }
  return model.denoiser()->predict(request, pack);
}

model::ImageModel denoiser_of(const std::filesystem::path& folder) {
  const bool transformer = std::filesystem::exists(folder / "transformer");
  return {folder, {.train = {transformer ? "transformer" : "unet"}, .text_encoders = false, .autoencoder = false}};
}

void denoise(const Arguments& arguments) {
  const tensor::NoRecording guard;
  const model::ImageModel model = denoiser_of(arguments.model);
  const std::int64_t samples = arguments.input.get("latents").size(0);
  Output output;
  output.add("prediction", predict(model, arguments.input, adapter::Pack::solo(nullptr, samples)));
  output.write(arguments.out);
}

void schedule(const Arguments& arguments) {
  const model::ImageModel model(arguments.model,
                                {.train = {}, .denoiser = false, .text_encoders = false, .autoencoder = false});
  const model::NoiseSchedule found(model.noise());
  const at::Tensor signal = at::zeros({found.steps()});
  for (std::int64_t step = 0; step < found.steps(); ++step) {
    signal.mutable_data_ptr<float>()[step] = static_cast<float>(found.signal(step));
  }
  Output output;
  output.add("signal", signal);
  output.write(arguments.out);
}

void sampler(const Arguments& arguments) {
  const model::ImageModel model(arguments.model,
                                {.train = {}, .denoiser = false, .text_encoders = false, .autoencoder = false});
  const model::NoiseSchedule found(model.noise());
  const std::int64_t steps = arguments.input.get("steps").numel();
  const auto made = inference::image_samplers().get("sampler", arguments.extra)(
      {.schedule = found, .prediction = model.noise().prediction, .steps = steps, .sampling = model.noise().sampling});
  at::Tensor latents = arguments.input.get("start").mul_(made->initial_scale());
  Output output;
  for (std::int64_t step = 0; step < made->steps(); ++step) {
    const at::Tensor prediction =
        latents.mul(made->input_scale(step)).tanh_().mul_(0.3).add_(made->timestep(step) / 5000.0);
    const at::Tensor noise = made->takes_noise() ? arguments.input.get(fmt::format("noise.{}", step)) : at::Tensor();
    latents = made->advance(step, latents, prediction, noise);
    output.add(fmt::format("latents.{}", step), latents);
  }
  output.write(arguments.out);
}

void start(const Arguments& arguments) {
  const at::Tensor noise = at::zeros(arguments.input.get("like").sizes());
  data::draw_normal_numbers(RandomKey{std::stoull(arguments.extra)}.child("picture").child("start"),
                            {noise.mutable_data_ptr<float>(), static_cast<std::size_t>(noise.numel())});
  Output output;
  output.add("noise", noise);
  output.write(arguments.out);
}

void gradients(const Arguments& arguments) {
  const model::ImageModel model = denoiser_of(arguments.model);
  const auto config = config::load<adapter::AdapterConfig>({.name = "adapter", .text = arguments.extra});
  adapter::AdapterSet adapters(config, model.layers(), RandomKey{7});
  tensor::FlatSpace& space = adapters.space();
  for (std::size_t index = 0; index < space.entries().size(); ++index) {
    const tensor::ParameterEntry& entry = space.entries()[index];
    const at::Tensor values = tensor::FlatSpace::unpadded_part(space.values(), entry);
    float* first = values.mutable_data_ptr<float>();
    for (std::int64_t i = 0; i < values.numel(); ++i) {
      const auto word = philox(RandomKey{11}.child(entry.name), static_cast<std::uint64_t>(i))[0];
      const float uniform = 2.0F * to_uniform(word) - 1.0F;
      first[i] = entry.role == tensor::ParameterRole::kMagnitude ? first[i] * (1.0F + 0.2F * uniform) : 0.3F * uniform;
    }
  }
  space.mark_written();
  adapters.refresh();
  const at::Tensor gradient = at::zeros({space.size()});
  space.bind_gradient(gradient);
  const at::Tensor target = arguments.input.get("target");
  const at::Tensor prediction = predict(model, arguments.input, adapter::Pack::solo(&adapters, target.size(0)));
  const at::Tensor difference = at::sub(tensor::detached(prediction), target);
  tensor::run_backward(prediction, difference.mul(2.0 / static_cast<double>(difference.numel())));
  Output output;
  output.add("prediction", tensor::detached(prediction));
  output.add("loss", at::mean(difference.square()).view({1}));
  for (const tensor::ParameterEntry& entry : space.entries()) {
    output.add("value." + entry.name, tensor::FlatSpace::unpadded_part(space.values(), entry));
    output.add("gradient." + entry.name, tensor::FlatSpace::unpadded_part(gradient, entry));
  }
  output.write(arguments.out);
}

}  // namespace
}  // namespace dormer

int main(int count, char** words) {
  const std::map<std::string, std::function<void(const dormer::Arguments&)>> commands{
      {"autoencoder", dormer::autoencoder}, {"conditions", dormer::conditions}, {"denoise", dormer::denoise},
      {"schedule", dormer::schedule},       {"sampler", dormer::sampler},       {"start", dormer::start},
      {"gradients", dormer::gradients}};
  if (count < 5 || !commands.contains(words[1])) {
    return 2;
  }
  try {
    commands.at(words[1])({words[2], dormer::Input(words[3]), words[4], count > 5 ? words[5] : ""});
  } catch (const std::exception& error) {
    fmt::print(stderr, "diffusion_probe: {}\n", error.what());
    return 1;
  }
  return 0;
}
