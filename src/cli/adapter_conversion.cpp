#include "cli/adapter_conversion.hpp"

#include <memory>
#include <utility>

#include <fmt/ranges.h>

#include "dormer/core/error.hpp"
#include "dormer/interop/approximation.hpp"
#include "dormer/interop/consumer.hpp"
#include "dormer/interop/merged.hpp"
#include "dormer/model/language_model.hpp"
#include "dormer/model/model_folder.hpp"
#include "dormer/storage/safetensors.hpp"

namespace dormer::cli {
namespace {

namespace fs = std::filesystem;

interop::StoredAdapter read_source(const ConversionRequest& request) {
  std::error_code code;
  require(fs::exists(request.source, code), Fault::kUsage, "{}: no such file or folder", request.source.string());
  const std::string form = request.form.empty() ? interop::format_of(request.source) : request.form;
  const interop::AdapterFormat format = interop::adapter_formats().get("--from", form);
  require(format.recognizes(request.source), Fault::kInput, "{} is no adapter in the form {}; {}",
          request.source.string(), form,
          request.form.empty() ? "name its form by --from" : "leave --from out to have its form recognized");
  return format.read(request.source, {.allow_partial = request.allow_partial});
}

/// In the files' own dtype, so that nothing is converted.
std::unique_ptr<model::LanguageModel> load_model(const fs::path& folder) {
  const storage::SafetensorsSet set = storage::SafetensorsSet::open_folder(folder);
  bool wide = false;
  for (const auto& file : set.files()) {
    for (const storage::TensorEntry& entry : file->tensors()) {
      wide = wide || entry.dtype == DType::kF32;
    }
  }
  return model::load_language_model(folder, wide ? DType::kF32 : DType::kBF16);
}

void require_layers_fit(const interop::StoredAdapter& adapter, const interop::BaseFacts& base, const fs::path& source) {
  for (const auto& [name, layer] : adapter.layers) {
    const adapter::Site* site = nullptr;
    for (const adapter::FrozenLayer& candidate : base.layers) {
      site = candidate.site.name == name ? &candidate.site : site;
    }
    require(site != nullptr, Fault::kInput, "{} has a layer '{}', which the model in {} does not have", source.string(),
            name, base.folder.string());
    interop::StoredShape shape = interop::shape_of(name, layer);
    if (layer.kind == "full" && site->form == adapter::LayerForm::kEmbedding) {  // a table lies the other way round
      std::swap(shape.out, shape.columns);
    }
    if (layer.kind == "bias") {  // it says nothing about the weight
      shape.columns = site->columns();
    }
    require(shape.out == site->out && shape.columns == site->columns(), Fault::kInput,
            "'{}' of {} is for a weight [{}, {}], but the model in {} has {}", name, source.string(), shape.out,
            shape.columns, base.folder.string(), site->shape_text());
  }
}

/// A model whose facts an export shall have, and what lives as long as they do.
struct ModelOfExport {
  std::unique_ptr<model::LanguageModel> model;
  interop::BaseFacts facts;
};

ModelOfExport base_of(const ConversionRequest& request, const interop::StoredAdapter& adapter) {
  ModelOfExport base{.model = nullptr, .facts = {.hub_id = adapter.base, .folder = {}, .linear_layers = {}}};
  if (!request.model) {
    return base;
  }
  const fs::path folder = model::resolve_model_or_pipeline(*request.model);
  require(!model::is_pipeline(folder), Fault::kUsage,
          "{} is a diffusers folder, which only an export for merged reads; leave --model out", folder.string());
  base.model = load_model(folder);
  base.facts = interop::facts_of(base.model->layers(), folder);
  require_layers_fit(adapter, base.facts, request.source);
  return base;
}

/// A file's form in a folder that is there already gets the source's name.
fs::path target_of(const ConversionRequest& request, const interop::AdapterFormat& format) {
  std::error_code code;
  const bool in_folder =
      !format.file_name.empty() && (!request.output.has_filename() || fs::is_directory(request.output, code));
  if (!in_folder) {
    require(format.file_name.empty() || request.output.extension() == ".safetensors", Fault::kUsage,
            "{} does not end in .safetensors, as the file that is written must", request.output.string());
    return request.output;
  }
  const fs::path source = request.source.has_filename() ? request.source : request.source.parent_path();
  return request.output / fmt::format(fmt::runtime(format.file_name), source.stem().string());
}

interop::StoredAdapter approximated(const interop::StoredAdapter& adapter, const ModelOfExport& base,
                                    const ConversionRequest& request, std::vector<std::string>& notes) {
  require(base.model != nullptr, Fault::kUsage, "--approximate needs the weights; name the model by --model FOLDER");
  interop::Approximation result = interop::approximate_by_lora(adapter, base.facts, *request.approximate);
  notes.push_back(fmt::format("a LoRA of rank {} in its place: off by {:.2f}% of the whole change, by {:.2f}% in '{}'",
                              *request.approximate, 100.0 * result.error, 100.0 * result.worst_error,
                              result.worst_layer));
  return std::move(result.adapter);
}

}  // namespace

Conversion convert_adapter(const ConversionRequest& request) {
  const interop::Consumer consumer = interop::consumer_registry().get("--for", request.consumer);
  const std::optional<DType> dtype = dtype_from_name(request.dtype);
  require(dtype == DType::kF32 || dtype == DType::kBF16 || dtype == DType::kF16, Fault::kUsage,
          "--dtype {} is none of an adapter; write float32, bfloat16 or float16", request.dtype);
  interop::StoredAdapter adapter = read_source(request);
  Conversion result{.output = request.output, .notes = adapter.warnings};
  for (const std::string& array : adapter.left_out) {
    result.notes.push_back(fmt::format("left out: {}", array));
  }
  if (consumer.format.empty()) {
    require(request.model.has_value(), Fault::kUsage,
            "an export for {} needs the weights; name the model by --model FOLDER or FILE", request.consumer);
    std::error_code code;
    const bool one_file = fs::is_regular_file(*request.model, code);
    const fs::path model = one_file ? fs::path(*request.model) : model::resolve_model_or_pipeline(*request.model);
    interop::write_merged(adapter, request.output, model,
                          {.dtype = *dtype, .largest_file = static_cast<std::int64_t>(request.shard_gib * 0x1p30)});
    return result;
  }
  const ModelOfExport base = base_of(request, adapter);
  if (request.approximate) {
    adapter = approximated(adapter, base, request, result.notes);
  }
  result.output = target_of(request, interop::adapter_formats().get("form of adapter files", consumer.format));
  interop::write_for(request.consumer, consumer, adapter, result.output,
                     {.base = base.facts, .dtype = *dtype, .text = request.text});
  result.notes.emplace_back(fmt::format("for {}: {}", request.consumer, consumer.doc));
  return result;
}

}  // namespace dormer::cli
