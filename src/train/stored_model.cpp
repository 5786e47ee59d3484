#include "dormer/train/stored_model.hpp"

#include "dormer/comm/single.hpp"
#include "dormer/core/error.hpp"
#include "dormer/interop/adapter_values.hpp"
#include "dormer/model/model_folder.hpp"
#include "dormer/tensor/process.hpp"
#include "train/placement.hpp"
#include "train/startup.hpp"

namespace dormer::train {
adapter::AdapterConfig stored_adapter_config(const std::filesystem::path& source) {
  return interop::adapter_config_of(interop::read_adapter(source), source.string());
}

namespace {

adapter::AddedTokensRequest added_tokens_of(const interop::StoredAdapter& stored, const model::LanguageModel& model) {
  if (stored.tokens.empty()) {
    return {};
  }
  const bool tied = model.head().name() == model.embedding().name();
  return {.count = std::ssize(stored.tokens.begin()->second.indices),
          .embedding = model.embedding(),
          .head = tied ? tensor::BaseWeight() : model.head()};
}

}  // namespace

adapter::AddedTokensRequest stored_added_tokens(const std::filesystem::path& source,
                                                const model::LanguageModel& model) {
  return added_tokens_of(interop::read_adapter(source), model);
}

StoredModel load_stored_model(const StoredModelRequest& request) {
  StoredModel result;
  result.folder = model::resolve_model_folder(request.model);
  const Placement placement = take_device(*comm::single(), request.device);
  result.model = model::load_language_model(
      result.folder, {.dtype = compute_dtype(request.dtype, placement.gpu.has_value()), .device = placement.device});
  if (request.adapter) {
    const interop::StoredAdapter stored = interop::read_adapter(*request.adapter);
    const std::string where = request.adapter->string();
    result.adapters.emplace(interop::adapter_config_of(stored, where), result.model->layers(), RandomKey{},
                            added_tokens_of(stored, *result.model));
    interop::load_into(*result.adapters, stored, where);
  }
  return result;
}

}  // namespace dormer::train
