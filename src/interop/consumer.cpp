#include "dormer/interop/consumer.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include <ATen/core/Tensor.h>
#include <ATen/ops/div.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <fmt/ranges.h>

#include "dense_weight.hpp"
#include "dormer/adapter/effective_weight.hpp"
#include "dormer/core/atomic_file.hpp"
#include "dormer/core/error.hpp"
#include "dormer/tensor/device_memory.hpp"
#include "dormer/tensor/differentiable.hpp"
#include "layer_names.hpp"
#include "model_files.hpp"

namespace dormer::interop {
namespace {

bool is_listed(const std::vector<std::string_view>& list, std::string_view word) {
  return std::ranges::find(list, word) != list.end();
}

/// Half the distance of neighbouring numbers at 1.
double rounding_of(DType dtype) {
  switch (dtype) {
    case DType::kF16:
      return 0x1p-11;
    case DType::kBF16:
      return 0x1p-8;
    default:
      return 0x1p-24;
  }
}

/// What two roundings of up to five factors, and sums of `rank` products in fp32, may differ by, relative to Δ of the
/// factors' absolute values.
double change_tolerance(DType dtype, std::int64_t rank) {
  constexpr double kFactors = 5.0;
  return 2.0 * kFactors * rounding_of(dtype) + static_cast<double>(rank + 4) * 0x1p-24;
}

/// The Frobenius norm of a matrix that is seen a block at a time.
class NormByBlocks {
 public:
  void add(const at::Tensor& block) {
    const auto norm = at::linalg_vector_norm(block, 2.0, c10::nullopt, false, at::kDouble).item<double>();
    squares_ += norm * norm;
  }
  [[nodiscard]] double value() const { return std::sqrt(squares_); }

 private:
  double squares_ = 0.0;
};

void compare_change(const std::string& name, const StoredLayer& wanted, const StoredLayer& back, DType dtype,
                    const std::string& where) {
  const MatrixRows written = dense_change(name, wanted);
  const MatrixRows found = dense_change(name, back);
  const MatrixRows magnitudes = dense_change_of_magnitudes(name, wanted);
  NormByBlocks off;
  NormByBlocks size;
  for_dense_rows(name, wanted, [&](std::int64_t first, std::int64_t count) {
    off.add(written(first, count).sub_(found(first, count)));
    size.add(magnitudes(first, count));
  });
  const double difference = off.value();
  const double bound = change_tolerance(dtype, wanted.rank) * size.value();
  require(difference <= bound, Fault::kBug,
          "'{}' of {} does not read back as the change that was written: it is off by {:.3g}, which rounding may be up "
          "to {:.3g}",
          name, where, difference, bound);
}

void compare_magnitudes(const std::string& name, const StoredLayer& wanted, const StoredLayer& back, DType dtype,
                        const std::string& where) {
  bool same = wanted.axis == back.axis && wanted.magnitude.size() == back.magnitude.size();
  for (std::size_t i = 0; same && i < wanted.magnitude.size(); ++i) {
    const double value = wanted.magnitude[i];
    same = std::abs(value - back.magnitude[i]) <= 2.0 * rounding_of(dtype) * std::abs(value);
  }
  require(same, Fault::kBug, "'{}' of {} does not read back with the magnitudes that were written", name, where);
}

void compare_numbers(const std::string& name, const std::vector<float>& wanted, const std::vector<float>& back,
                     DType dtype, const std::string& where) {
  bool same = wanted.size() == back.size();
  for (std::size_t i = 0; same && i < wanted.size(); ++i) {
    same = std::abs(wanted[i] - back[i]) <= 2.0 * rounding_of(dtype) * std::abs(wanted[i]);
  }
  require(same, Fault::kBug, "'{}' of {} does not read back with the bias that was written", name, where);
}

void compare_whole(const std::string& name, const StoredLayer& wanted, const StoredLayer& back, DType dtype,
                   const std::string& where) {
  bool same = wanted.factors.size() == back.factors.size();
  for (const auto& [factor, values] : wanted.factors) {
    const auto found = back.factors.find(factor);
    same = same && found != back.factors.end() && found->second.values.size() == values.values.size();
    for (std::size_t i = 0; same && i < values.values.size(); ++i) {
      same =
          std::abs(values.values[i] - found->second.values[i]) <= 2.0 * rounding_of(dtype) * std::abs(values.values[i]);
    }
  }
  require(same, Fault::kBug, "'{}' of {} does not read back as the weight that was written", name, where);
}

void compare(const StoredAdapter& wanted, const StoredAdapter& written, DType dtype, const std::string& where) {
  const StoredAdapter back = written.naming == wanted.naming ? written : renamed(written, wanted.naming);
  for (const auto& [name, layer] : wanted.layers) {
    const auto found = back.layers.find(name);
    require(found != back.layers.end(), Fault::kBug, "'{}' cannot be found again in {}", name, where);
    compare_numbers(name, layer.bias, found->second.bias, dtype, where);
    if (layer.kind == "full") {
      compare_whole(name, layer, found->second, dtype, where);
    }
    if (layer.kind == "full" || layer.kind == "bias") {
      continue;
    }
    compare_change(name, layer, found->second, dtype, where);
    compare_magnitudes(name, layer, found->second, dtype, where);
  }
  require(back.layers.size() == wanted.layers.size() && back.tokens.size() == wanted.tokens.size(), Fault::kBug,
          "{} holds other layers than were to be written", where);
}

/// What stands at the target may be an earlier export; anything else is somebody's.
void require_replaceable(const std::filesystem::path& target, const AdapterFormat& format) {
  std::error_code code;
  const bool folder = format.file_name.empty();
  const bool free =
      !std::filesystem::exists(std::filesystem::symlink_status(target, code)) ||
      (folder ? std::filesystem::is_directory(target, code) && std::filesystem::is_empty(target, code) : false) ||
      (std::filesystem::is_directory(target, code) == folder && format.recognizes(target));
  require(free, Fault::kUsage, "{} exists and is no {} that this could replace; name another one", target.string(),
          folder ? "folder of such an adapter" : "file of such an adapter");
}

std::string way_out(const Consumer& consumer) {
  return consumer.axes.empty() ? "write merged weights (export for merged)"
                               : fmt::format(
                                     "write merged weights (export for merged), or train with "
                                     "adapter.decompose.axis: {} the next time",
                                     consumer.axes.front());
}

}  // namespace

void require_exact(std::string_view name, const Consumer& consumer, const StoredAdapter& adapter) {
  for (const auto& [layer_name, layer] : adapter.layers) {
    require(consumer.biases || layer.bias.empty(), Fault::kUsage,
            "{} reads no trained biases, and '{}' has one; write merged weights (export for merged), or train with "
            "adapter.bias: none the next time",
            name, layer_name);
    require(consumer.kinds.empty() || is_listed(consumer.kinds, layer.kind), Fault::kUsage,
            "{} computes adapters of kind {}, and '{}' is a {}; write merged weights (export for merged)", name,
            fmt::join(consumer.kinds, ", "), layer_name, layer.kind);
    require(!layer.axis || is_listed(consumer.axes, name_of(*layer.axis)), Fault::kUsage,
            "{} does not compute the {} axis, by which '{}' is decomposed; {}", name,
            layer.axis ? name_of(*layer.axis) : "", layer_name, way_out(consumer));
  }
  require(consumer.families.empty() || adapter.family == ModelFamily::kUnknown ||
              std::ranges::find(consumer.families, adapter.family) != consumer.families.end(),
          Fault::kUsage, "{} has no names for the layers of {}; write for a program that runs it, such as peft", name,
          name_of(adapter.family));
  require(adapter.tokens.empty() || consumer.added_tokens, Fault::kUsage,
          "{} reads no rows of added tokens; write merged weights (export for merged)", name);
  if (consumer.check) {
    consumer.check(adapter);
  }
  if (consumer.format.empty()) {
    return;
  }
  if (const AdapterFormat format = adapter_formats().get("form of adapter files", consumer.format); format.check) {
    format.check(adapter);
  }
}

void write_for(std::string_view name, const Consumer& consumer, const StoredAdapter& adapter,
               const std::filesystem::path& target, const WriteRequest& request) {
  invariant(!consumer.format.empty(), "{} reads merged models", name);
  require_exact(name, consumer, adapter);
  const AdapterFormat format = adapter_formats().get("form of adapter files", consumer.format);
  invariant(format.write != nullptr, "the form {} is only read", consumer.format);
  const std::filesystem::path place = target.has_filename() ? target : target.parent_path();
  require_replaceable(place, format);
  write_checked(place, format.file_name.empty() ? replace_folder : replace_file,
                [&](const std::filesystem::path& temporary) {
                  WriteRequest named = request;
                  named.name = request.name.empty() ? place.stem().string() : request.name;
                  format.write(adapter, temporary, named);
                  compare(adapter, format.read(temporary, {}), request.dtype, place.string());
                });
}

namespace {

/// What an epsilon in the norms, which no file carries, does to an effective weight, relative.
double epsilon_share(const adapter::AdapterSet& adapters, std::size_t site_index) {
  const at::Tensor* norm = adapters.norm(site_index);
  const double epsilon = adapters.config().epsilon();
  return norm == nullptr || epsilon == 0.0 ? 0.0 : epsilon / std::max(epsilon, norm->min().item<double>());
}

/// What norms that are taken of rounded factors (docs/adr/0032) do to an effective weight, relative to Δ of the
/// factors' absolute values: rounding two factors moves a row of Δ, and so its norm n, by two roundings of that row's
/// share, and the row times m / n by m / n as much.
double rounded_norms_share(const adapter::AdapterSet& adapters, std::size_t site_index, const StoredLayer& kept,
                           const at::Tensor& weight) {
  const at::Tensor* norm = adapters.norm(site_index);
  if (norm == nullptr || weight.scalar_type() != at::kBFloat16 || (kept.kind != "lora" && kept.kind != "locon")) {
    return 0.0;
  }
  const at::Tensor magnitude = tensor::borrowed(std::span<const float>(kept.magnitude), "cpu");
  const double rounding = rounding_of(DType::kBF16);
  return (2.0 + rounding) * rounding * at::div(magnitude, norm->cpu().flatten()).abs().max().item<double>();
}

}  // namespace

void require_same_function(const StoredAdapter& stored, const adapter::AdapterSet& adapters, const BaseFacts& base) {
  const tensor::NoRecording guard;
  for (const std::size_t index : adapters.site_indices()) {
    const adapter::FrozenLayer& layer = base.layers[index];
    const std::string& name = layer.site.name;
    const StoredLayer& kept = stored.layers.at(name);
    if (kept.kind == "bias") {
      continue;
    }
    const at::Tensor weight = layer.weight.values().cpu();
    const bool whole = kept.kind == "full";
    const bool table = whole && layer.site.form == adapter::LayerForm::kEmbedding;
    const MatrixRows formula = table ? dense_table_rows(name, kept, weight) : dense_effective_rows(name, kept, weight);
    const MatrixRows magnitudes = whole ? MatrixRows() : dense_change_of_magnitudes(name, kept);
    NormByBlocks off;
    NormByBlocks size;
    NormByBlocks change;
    adapter::for_effective_rows(adapters, layer.site, weight, [&](std::int64_t first, const at::Tensor& trained) {
      size.add(trained);
      off.add(formula(first, trained.size(0)).sub_(trained));
      if (magnitudes) {
        change.add(magnitudes(first, trained.size(0)));
      }
    });
    // Both sum in fp32; factored norms are within 27 ulp of dense ones where nothing cancels more than to a sixteenth.
    const double scale = size.value() + change.value();
    const double difference = off.value();
    const double bound = ((64.0 + static_cast<double>(kept.rank)) * 0x1p-23 + epsilon_share(adapters, index)) * scale +
                         rounded_norms_share(adapters, index, kept, weight) * change.value();
    invariant(difference <= bound,
              "the stored adapter of '{}' is not the trained one: effective weights differ by {:.3g}", name,
              difference);
  }
}

}  // namespace dormer::interop
