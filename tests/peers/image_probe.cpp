// What the peer tests ask about images:
//   image_probe JOBS OUT
// JOBS is JSON: a list of {"name", "path"} and, where the image shall also be cut, "plan": [scaled width, scaled
// height, top, left, target width, target height, flip], and where it is a mask, "cell" and "unmasked_weight". OUT is a
// safetensors file with "NAME.size" (width, height) and "NAME" (what load_image or load_mask gives; without a plan the
// whole image as it is). What is refused stands as NAME: MESSAGE, a line each, on standard output.

#include <cstdio>
#include <fstream>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>
#include <ATen/ops/tensor.h>
#include <nlohmann/json.hpp>

#include "dormer/core/error.hpp"
#include "dormer/data/image.hpp"
#include "dormer/storage/safetensors.hpp"

namespace dormer {
namespace {

class Output {
 public:
  void add(const std::string& name, const at::Tensor& values) {
    kept_.push_back(values);
    arrays_.push_back({.name = name,
                       .dtype = DType::kF32,
                       .shape = values.sizes().vec(),
                       .bytes = {static_cast<const std::byte*>(values.const_data_ptr()), values.nbytes()}});
  }
  void write(const std::filesystem::path& path) const { storage::write_safetensors(path, arrays_, {}); }

 private:
  std::vector<at::Tensor> kept_;
  std::vector<storage::NamedArray> arrays_;
};

data::CropPlan plan_of(const nlohmann::json& job, data::ImageSize size) {
  data::CropPlan plan{.original = size, .scaled = size, .target = size};
  if (job.contains("plan")) {
    const auto numbers = job.at("plan").get<std::vector<std::int64_t>>();
    plan.scaled = {numbers.at(0), numbers.at(1)};
    plan.top = numbers.at(2);
    plan.left = numbers.at(3);
    plan.target = {numbers.at(4), numbers.at(5)};
    plan.flip = numbers.at(6) != 0;
  }
  return plan;
}

void run(const nlohmann::json& job, Output& output) {
  const std::string name = job.at("name");
  const std::filesystem::path path = job.at("path").get<std::string>();
  const data::ImageSize size = data::image_size(path);
  const data::CropPlan plan = plan_of(job, size);
  const at::Tensor values =
      job.contains("cell")
          ? data::load_mask(path, plan, {.cell = job.at("cell"), .unmasked_weight = job.at("unmasked_weight")})
          : data::load_image(path, plan);
  output.add(name, values);
  output.add(name + ".size", at::tensor({static_cast<float>(size.width), static_cast<float>(size.height)}));
}

}  // namespace
}  // namespace dormer

int main(int count, char** words) {
  if (count != 3) {
    std::fputs("usage: image_probe JOBS OUT\n", stderr);
    return static_cast<int>(dormer::Fault::kUsage);
  }
  dormer::Output output;
  std::ifstream file(words[1]);
  for (const nlohmann::json& job : nlohmann::json::parse(file)) {
    try {
      dormer::run(job, output);
    } catch (const dormer::Error& error) {
      std::printf("%s: %s\n", job.at("name").get<std::string>().c_str(), error.what());
    }
  }
  output.write(words[2]);
  return 0;
}
