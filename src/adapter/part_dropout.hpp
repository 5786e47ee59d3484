#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include <ATen/core/Tensor.h>

#include "dormer/adapter/change.hpp"
#include "dormer/core/random_key.hpp"

/// The dropout of parts of a change, as LyCORIS has it: of rows of Δ (its `rank_dropout`) and of a whole site (its
/// `module_dropout`). One draw holds for all samples of an update.
namespace dormer::adapter {

/// What both draws of one site in one update depend on.
[[nodiscard]] RandomKey part_dropout_key(RandomKey seed, std::int64_t step, const std::string& site);

/// fp32 [rows] on the host: 0 for rows that are dropped, each with probability `rate`, and 1 for the rest; `scaled`
/// divides by the mean, so that the factors' mean is 1 (all of them 0 where no row is left). Pure.
[[nodiscard]] at::Tensor row_factors(RandomKey part_key, std::int64_t rows, double rate, bool scaled);

/// Whether the site's whole change is left out. Pure.
[[nodiscard]] bool leaves_out(RandomKey part_key, double rate);

/// The change diag(factors) Δ, with the parameters of `change`, which outlives it. `factors` is fp32 [out] and lies
/// beside the parameters.
[[nodiscard]] std::unique_ptr<Change> change_by_rows(const Change& change, at::Tensor factors);

}  // namespace dormer::adapter
