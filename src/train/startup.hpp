#pragma once

#include <optional>
#include <string>
#include <vector>

#include "dormer/comm/communicator.hpp"
#include "dormer/core/dtype.hpp"
#include "dormer/data/token_dataset.hpp"
#include "dormer/model/language_model.hpp"
#include "dormer/tensor/frozen_product.hpp"
#include "dormer/train/run_config.hpp"
#include "train/decisions.hpp"
#include "train/fingerprint.hpp"
#include "train/placement.hpp"

namespace dormer::train {

/// The numbers of the frozen base and the library of its products: the same for all ranks and lives of a run.
struct NumericChoice {
  DType dtype = DType::kF32;
  tensor::ProductPath path = tensor::ProductPath::kPlain;
};

/// The dtype of this name; auto is bfloat16 on GPUs and on processors that have it, else float32. A usage error for
/// others.
[[nodiscard]] DType compute_dtype(const std::string& name, bool gpu);

/// Rank 0 chooses where the configuration says "auto": as an earlier life of the run did, else bfloat16 on GPUs and on
/// processors that have it. Sets the product path on every rank, and on GPUs whether LibTorch's kernels are
/// deterministic; a rank that lacks the path is a usage error unless `run.exact: false`.
[[nodiscard]] NumericChoice choose_numerics(comm::Communicator& communicator, const RunConfig& config,
                                            const Placement& placement, const Fingerprint* stored);

/// The trained rows that `model.added_tokens` asks for. Throws a usage error where the folder's tokenizer has no token
/// beyond the model's vocabulary. Reads the folder's tokenizer.
[[nodiscard]] adapter::AddedTokensRequest added_tokens(const ModelSection& section, const model::LanguageModel& model,
                                                       const std::filesystem::path& model_folder);

/// What the data of a run must fit. Pure, but for reading the folder's tokenizer.
[[nodiscard]] data::TokenDatasetUse data_use(const RunConfig& config, const model::LanguageModel& model,
                                             const std::filesystem::path& model_folder);

/// What this process' numbers depend on, data sets and model left out.
[[nodiscard]] Fingerprint process_fingerprint(const RunConfig& config, const NumericChoice& numerics,
                                              const Placement& placement, int ranks);

/// Logs one line for each rank: host, GPU and driver, processor, threads, numbers, library, transport. Ranks on unlike
/// processors or with unlike libraries are a usage error for the exact reduction unless `run.exact: false`. Returns the
/// lines.
std::vector<std::string> introduce_ranks(comm::Communicator& communicator, const RunConfig& config,
                                         const Placement& placement, const Fingerprint& fingerprint);

/// Compares what a checkpoint stored with this configuration and fingerprint. Differences that make it another
/// experiment are a usage error that lists them; returns those that only change the last bits.
[[nodiscard]] std::vector<std::string> require_resumable(const std::map<std::string, std::string>& stored_config,
                                                         const std::map<std::string, std::string>& config,
                                                         const Fingerprint& stored, const Fingerprint& current);

}  // namespace dormer::train
