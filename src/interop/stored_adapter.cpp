#include "dormer/interop/stored_adapter.hpp"

#include <algorithm>
#include <functional>
#include <numeric>

#include <fmt/ranges.h>

#include "dormer/core/error.hpp"

namespace dormer::interop {
namespace {

using Shape = std::vector<std::int64_t>;

std::int64_t product(const Shape& shape, std::size_t first) {
  return std::accumulate(shape.begin() + static_cast<std::ptrdiff_t>(std::min(first, shape.size())), shape.end(),
                         std::int64_t{1}, std::multiplies<>());
}

/// Reads the shapes of one layer's factors; every mistake names the layer and the factor.
class Factors {
 public:
  Factors(const std::string& name, const StoredLayer& layer) : name_(name), layer_(layer) {}

  [[nodiscard]] bool has(const char* factor) const { return layer_.factors.contains(factor); }

  [[nodiscard]] const Shape& shape(const char* factor, std::size_t least, std::size_t most) const {
    const auto found = layer_.factors.find(factor);
    require(found != layer_.factors.end(), Fault::kInput, "'{}' lacks {}", name_, factor);
    const Shape& shape = found->second.shape;
    require(shape.size() >= least && shape.size() <= most &&
                std::ranges::all_of(shape, [](std::int64_t size) { return size > 0; }),
            Fault::kInput, "{} of '{}' has the shape [{}], which is none of a {}", factor, name_,
            fmt::join(shape, ", "), layer_.kind);
    return shape;
  }
  [[nodiscard]] const Shape& matrix(const char* factor) const { return shape(factor, 2, 2); }

  void same(const char* first, std::int64_t a, const char* second, std::int64_t b) const {
    require(a == b, Fault::kInput, "{} and {} of '{}' do not fit each other: {} and {}", first, second, name_, a, b);
  }

 private:
  const std::string& name_;
  const StoredLayer& layer_;
};

StoredShape shape_of_low_rank(const Factors& factors) {
  if (factors.has("lora_embedding_A")) {
    const Shape& a = factors.matrix("lora_embedding_A");
    const Shape& b = factors.matrix("lora_embedding_B");
    factors.same("lora_embedding_A", a[0], "lora_embedding_B", b[1]);
    return {b[0], a[1]};
  }
  const Shape& b = factors.matrix("lora_B");
  if (factors.has("lora_mid")) {
    const Shape& a = factors.matrix("lora_A");
    const Shape& middle = factors.shape("lora_mid", 3, 5);
    factors.same("lora_mid", middle[0], "lora_B", b[1]);
    factors.same("lora_mid", middle[1], "lora_A", a[0]);
    return {b[0], a[1] * product(middle, 2)};
  }
  const Shape& a = factors.shape("lora_A", 2, 5);
  factors.same("lora_A", a[0], "lora_B", b[1]);
  return {b[0], product(a, 1)};
}

StoredShape shape_of_half(const Factors& factors, const char* left, const char* right, const char* middle) {
  const Shape& a = factors.matrix(left);
  const Shape& b = factors.matrix(right);
  if (!factors.has(middle)) {
    factors.same(left, a[1], right, b[0]);
    return {a[0], b[1]};
  }
  const Shape& t = factors.shape(middle, 3, 5);
  factors.same(middle, t[0], left, a[0]);
  factors.same(middle, t[1], right, b[0]);
  return {a[1], b[1] * product(t, 2)};
}

StoredShape shape_of_hadamard(const Factors& factors) {
  const StoredShape first = shape_of_half(factors, "hada_w1_a", "hada_w1_b", "hada_t1");
  const StoredShape second = shape_of_half(factors, "hada_w2_a", "hada_w2_b", "hada_t2");
  factors.same("hada_w1_a", first.out, "hada_w2_a", second.out);
  factors.same("hada_w1_b", first.columns, "hada_w2_b", second.columns);
  return first;
}

StoredShape shape_of_kronecker(const Factors& factors) {
  StoredShape small;
  if (factors.has("lokr_w1")) {
    const Shape& whole = factors.matrix("lokr_w1");
    small = {whole[0], whole[1]};
  } else {
    small = shape_of_half(factors, "lokr_w1_a", "lokr_w1_b", "");
  }
  StoredShape large;
  if (factors.has("lokr_w2")) {
    const Shape& whole = factors.shape("lokr_w2", 2, 5);
    large = {whole[0], product(whole, 1)};
  } else {
    large = shape_of_half(factors, "lokr_w2_a", "lokr_w2_b", "lokr_t2");
  }
  return {small.out * large.out, small.columns * large.columns};
}

}  // namespace

std::string_view name_of(ModelFamily family) {
  switch (family) {
    case ModelFamily::kLanguage:
      return "a language model";
    case ModelFamily::kSd1:
      return "Stable Diffusion 1.x";
    case ModelFamily::kSdxl:
      return "Stable Diffusion XL";
    case ModelFamily::kSd3:
      return "Stable Diffusion 3";
    case ModelFamily::kFlux:
      return "Flux.1";
    case ModelFamily::kUnknown:
      break;
  }
  return "a model that its names do not tell";
}

bool StoredAdapter::decomposed() const {
  return std::ranges::any_of(layers, [](const auto& entry) { return entry.second.axis.has_value(); });
}

StoredShape shape_of(const std::string& name, const StoredLayer& layer) {
  if (layer.kind == "bias") {
    return {std::ssize(layer.bias), 0};
  }
  const Factors factors(name, layer);
  if (layer.kind == "loha") {
    return shape_of_hadamard(factors);
  }
  if (layer.kind == "lokr") {
    return shape_of_kronecker(factors);
  }
  if (layer.kind == "full" || layer.kind == "diff") {
    const Shape& whole = factors.shape(layer.kind == "full" ? "weight" : "diff", 1, 5);
    return {whole[0], product(whole, 1)};
  }
  return shape_of_low_rank(factors);
}

double plain_alpha(const StoredLayer& layer) {
  return layer.rank == 0 ? 1.0 : layer.scale * static_cast<double>(layer.rank);
}

}  // namespace dormer::interop
