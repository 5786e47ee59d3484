#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>

#include "dormer/model/denoiser.hpp"
#include "dormer/tensor/forward.hpp"

namespace dormer::cache {

/// States of texts by a text encoder that this program does not have (T5 of Stable Diffusion 3): a file of HDF5 that
/// another program computed (docs/text_embeddings.md). Its numbers are read when they are asked for. Not thread-safe.
class ImportedStates {
 public:
  /// Reads which texts there are. Input errors for files of another form, and for states of unequal shapes.
  explicit ImportedStates(const std::filesystem::path& file);
  ~ImportedStates();
  ImportedStates(const ImportedStates&) = delete;
  ImportedStates& operator=(const ImportedStates&) = delete;

  [[nodiscard]] std::int64_t tokens() const;             ///< of every text
  [[nodiscard]] std::int64_t width() const;              ///< of a token's state
  [[nodiscard]] const std::string& fingerprint() const;  ///< of texts and states, as their writer computed it
  /// An input error that names the first of these texts that is missing, how many are, and the remedy.
  void require_all(std::span<const std::string> texts) const;
  /// Usage errors for a model that has no place for them, and input errors for states of another width.
  void require_suited(const model::DenoiserFacts& denoiser) const;
  /// fp32 [tokens, width] on the host. Input errors for a text that is missing, and for states that are not finite.
  [[nodiscard]] at::Tensor read(const std::string& text) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace dormer::cache
