#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace dormer::adapter {

/// How the factors of a low-rank change start. The first two and the last leave the change zero because B is. The
/// others take A and B from the frozen weight W, and what trains is how far they move from there: Δ = s (B A - B0 A0).
enum class Start : std::uint8_t {
  kKaiming,    ///< A uniform in ±1 / sqrt(in), B zero (Hu et al. 2021)
  kGaussian,   ///< A normal with deviation 1 / rank, B zero (PEFT)
  kPissa,      ///< s B A is the best approximation of W of this rank (Meng et al. 2024, "PiSSA")
  kPissaFast,  ///< the same by a randomized decomposition (Halko et al. 2011)
  kOlora,      ///< B A are the first columns of Q and rows of R of W = Q R (Büyükakyüz 2024, "OLoRA")
  kEva,  ///< A the principal directions of the layer's inputs, B zero (Paischer et al. 2024, "EVA"); until whoever
         ///< reads the data has written A, it is as under kKaiming
};

/// Where factors that are taken from W come from.
enum class StartOrigin : std::uint8_t {
  kWeight,  ///< they are computed
  kGiven,   ///< a checkpoint or another rank has them: they are zero until they are written
};

/// What a configuration chose.
struct StartRule {
  Start start = Start::kKaiming;
  std::int64_t iterations = 0;  ///< of the randomized decomposition
  StartOrigin origin = StartOrigin::kWeight;
};

/// The names of a configuration, in the order of the enumeration.
[[nodiscard]] std::vector<std::string> start_names();
/// Throws a bug error for a name that is none of them.
[[nodiscard]] Start start_named(std::string_view name);
/// Whether Δ is counted from factors that were taken from W.
[[nodiscard]] bool takes_from_weight(Start start);
/// Whether A is made from the data of the run.
[[nodiscard]] bool takes_from_data(Start start);

}  // namespace dormer::adapter
