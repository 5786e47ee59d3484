#include "cli/adapter_inspection.hpp"

#include <algorithm>
#include <array>
#include <optional>
#include <set>
#include <string_view>
#include <utility>

#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include "cli/tally.hpp"
#include "cli/weight_files.hpp"
#include "dormer/core/error.hpp"
#include "dormer/interop/adapter_format.hpp"
#include "dormer/interop/consumer.hpp"

namespace dormer::cli {
namespace {

namespace fs = std::filesystem;
using interop::StoredAdapter;
using interop::StoredLayer;

std::vector<Verdict> verdicts_of(const StoredAdapter& adapter) {
  std::vector<Verdict> result;
  const Registry<interop::Consumer> consumers = interop::consumer_registry();
  for (const auto& [name, consumer] : consumers.entries()) {
    Verdict verdict{name, std::string(consumer.format.empty() ? "a merged model" : consumer.format), {}};
    try {
      interop::require_exact(name, consumer, adapter);
    } catch (const Error& error) {
      if (error.fault() != Fault::kUsage && error.fault() != Fault::kInput) {
        throw;
      }
      verdict.reason = error.what();
    }
    result.push_back(std::move(verdict));
  }
  return result;
}

/// The kind and the axis that layers have; more than one where they differ.
std::set<std::string> words_of_kinds(const StoredAdapter& adapter) {
  std::set<std::string> result;
  for (const auto& [name, layer] : adapter.layers) {
    result.insert(layer.axis ? fmt::format("{} decomposed by {}", layer.kind, name_of(*layer.axis)) : layer.kind);
  }
  return result;
}

void warn_of_partial_decomposition(const StoredAdapter& adapter, std::vector<std::string>& warnings) {
  const auto with =
      std::ranges::count_if(adapter.layers, [](const auto& entry) { return entry.second.axis.has_value(); });
  if (with > 0 && with < std::ssize(adapter.layers)) {
    warnings.push_back(fmt::format("{} of {} layers have magnitudes; diffusers and PEFT want them for all or for none",
                                   with, adapter.layers.size()));
  }
}

AdapterReport read_report(const fs::path& path, const std::string& form) {
  const interop::AdapterFormat format = interop::adapter_formats().get("form of adapter files", form);
  AdapterReport report;
  report.path = path;
  report.form = form;
  try {
    report.adapter = format.read(path, {});
  } catch (const Error& error) {
    if (error.fault() != Fault::kInput) {
      throw;
    }
    const std::string reason = error.what();
    try {
      report.adapter = format.read(path, {.allow_partial = true});
    } catch (const Error&) {
      fail(Fault::kInput, "{}", reason);  // it is not what can be left out
    }
    report.warnings.push_back(reason);
  }
  return report;
}

/// "unet.down_blocks.*.attentions.*.proj_in": layers of one place in every block.
std::string place_of(const std::string& name) {
  std::string result;
  for (std::size_t begin = 0; begin <= name.size();) {
    const std::size_t end = std::min(name.find('.', begin), name.size());
    const std::string part = name.substr(begin, end - begin);
    const bool number = !part.empty() && part.find_first_not_of("0123456789") == std::string::npos;
    result += (begin == 0 ? "" : ".") + (number ? std::string("*") : part);
    begin = end + 1;
  }
  return result;
}

std::string layer_text(const std::string& name, const StoredLayer& layer) {
  const interop::StoredShape shape = interop::shape_of(name, layer);
  std::string text = fmt::format("{:<22} [{}, {}] {}", place_of(name), shape.out, shape.columns, layer.kind);
  if (layer.rank > 0) {
    text += fmt::format(" of rank {}, {}, scale {:.6g}", layer.rank,
                        layer.alpha ? fmt::format("alpha {:.6g}", *layer.alpha) : "no alpha", layer.scale);
  }
  for (const char* middle : {"lora_mid", "hada_t1", "lokr_t2"}) {
    text += layer.factors.contains(middle) ? ", Tucker" : "";
  }
  text += layer.axis ? fmt::format(", magnitudes by {}", name_of(*layer.axis)) : "";
  text += layer.bias.empty() || layer.kind == "bias" ? "" : ", with its bias";
  return text + fmt::format(", {}", name_of(layer.dtype));
}

constexpr std::array<std::string_view, 16> kShownMetadata{
    "modelspec.title",        "modelspec.author",    "modelspec.trigger_phrase", "modelspec.tags",
    "modelspec.architecture", "modelspec.date",      "ss_output_name",           "ss_base_model_version",
    "ss_sd_model_name",       "ss_network_module",   "ss_network_dim",           "ss_network_alpha",
    "ss_network_args",        "ss_training_comment", "sshs_model_hash",          "ot_branch"};

/// One line of what may be a long text of many.
std::string short_text(std::string text) {
  constexpr std::size_t kLongest = 100;
  std::ranges::replace_if(
      text, [](char character) { return static_cast<unsigned char>(character) < ' '; }, ' ');
  return text.size() <= kLongest ? text : text.substr(0, kLongest) + "…";
}

std::string scales_text(const StoredAdapter& adapter) {
  std::set<std::string> scales;
  for (const auto& [name, layer] : adapter.layers) {
    if (layer.rank > 0) {
      scales.insert(fmt::format("{:.6g}", layer.scale));
    }
  }
  constexpr std::size_t kMost = 4;
  return scales.empty()          ? "none"
         : scales.size() > kMost ? fmt::format("{} different ones", scales.size())
                                 : fmt::format("{}", fmt::join(scales, ", "));
}

std::string_view naming_text(interop::Naming naming) {
  return naming == interop::Naming::kNative ? "native" : "hugging_face";
}

nlohmann::json layers_json(const StoredAdapter& adapter) {
  nlohmann::json layers = nlohmann::json::object();
  for (const auto& [name, layer] : adapter.layers) {
    const interop::StoredShape shape = interop::shape_of(name, layer);
    layers[name] = {
        {"kind", layer.kind},           {"out", shape.out},
        {"columns", shape.columns},     {"bias", !layer.bias.empty()},
        {"rank", layer.rank},           {"alpha", layer.alpha ? nlohmann::json(*layer.alpha) : nlohmann::json()},
        {"scale", layer.scale},         {"axis", layer.axis ? nlohmann::json(name_of(*layer.axis)) : nlohmann::json()},
        {"dtype", name_of(layer.dtype)}};
  }
  return layers;
}

}  // namespace

std::string adapter_form(const fs::path& path) {
  const Registry<interop::AdapterFormat> formats = interop::adapter_formats();
  for (const auto& [name, format] : formats.entries()) {
    if (format.recognizes(path)) {
      return name;
    }
  }
  return {};
}

AdapterReport report_adapter(const fs::path& path, const std::string& form) {
  AdapterReport report = read_report(path, form);
  for (const std::string& warning : report.adapter.warnings) {
    report.warnings.push_back(warning);
  }
  warn_of_partial_decomposition(report.adapter, report.warnings);
  report.weights = weights_text(path);
  report.verdicts = verdicts_of(report.adapter);
  return report;
}

Inspection describe(const AdapterReport& report) {
  const StoredAdapter& adapter = report.adapter;
  Inspection result{
      .title = fmt::format("an adapter in the form {}: {}", report.form, fmt::join(words_of_kinds(adapter), " and ")),
      .facts = {},
      .lines = {}};
  result.facts = {{"model", std::string(interop::name_of(adapter.family))},
                  {"names", std::string(adapter.naming == interop::Naming::kNative ? "of the model's own code"
                                                                                   : "of Hugging Face's libraries")},
                  {"weights", report.weights},
                  {"layers", fmt::format("{}", adapter.layers.size())},
                  {"scale", scales_text(adapter)}};
  if (adapter.base) {
    result.facts.emplace_back("base", *adapter.base);
  }
  for (const std::string_view key : kShownMetadata) {
    if (const auto found = adapter.metadata.find(std::string(key)); found != adapter.metadata.end()) {
      result.facts.emplace_back(key, short_text(found->second));
    }
  }
  Tally tally;
  for (const auto& [name, layer] : adapter.layers) {
    tally.add(layer_text(name, layer));
  }
  for (const auto& [name, tokens] : adapter.tokens) {
    tally.add(fmt::format("{:<22} rows of {} tokens from {} on", name, tokens.indices.size(), tokens.indices.front()));
  }
  result.lines = tally.lines();
  for (const Verdict& verdict : report.verdicts) {
    result.lines.push_back(verdict.reason.empty()
                               ? fmt::format("for {:<20} exactly, as {}", verdict.consumer, verdict.form)
                               : fmt::format("for {:<20} refused: {}", verdict.consumer, verdict.reason));
  }
  for (const std::string& warning : report.warnings) {
    result.lines.push_back(fmt::format("warning: {}", warning));
  }
  return result;
}

std::string to_json(const AdapterReport& report) {
  const StoredAdapter& adapter = report.adapter;
  nlohmann::json consumers = nlohmann::json::object();
  for (const Verdict& verdict : report.verdicts) {
    consumers[verdict.consumer] = {{"exact", verdict.reason.empty()}, {"form", verdict.form}};
    if (!verdict.reason.empty()) {
      consumers[verdict.consumer]["reason"] = verdict.reason;
    }
  }
  nlohmann::json tokens = nlohmann::json::object();
  for (const auto& [name, rows] : adapter.tokens) {
    tokens[name] = rows.indices;
  }
  const nlohmann::json json{{"format", "dormer.adapter/1"},
                            {"path", report.path.string()},
                            {"form", report.form},
                            {"model", interop::name_of(adapter.family)},
                            {"naming", naming_text(adapter.naming)},
                            {"base", adapter.base ? nlohmann::json(*adapter.base) : nlohmann::json()},
                            {"layers", layers_json(adapter)},
                            {"tokens", tokens},
                            {"metadata", adapter.metadata},
                            {"consumers", consumers},
                            {"warnings", report.warnings},
                            {"left_out", adapter.left_out}};
  return json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

}  // namespace dormer::cli
