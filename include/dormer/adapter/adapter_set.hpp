#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "dormer/adapter/added_tokens.hpp"
#include "dormer/adapter/config.hpp"
#include "dormer/adapter/input_observer.hpp"
#include "dormer/adapter/site.hpp"
#include "dormer/adapter/site_plan.hpp"
#include "dormer/adapter/start.hpp"
#include "dormer/core/random_key.hpp"
#include "dormer/tensor/flat_space.hpp"
#include "dormer/tensor/forward.hpp"

namespace dormer::adapter {

class Adapter;

/// All adapters of one trial: the chosen sites, their parameters in one flat space, and the cached norms.
class AdapterSet {
 public:
  /// Chooses sites as `plan_sites` does, adds their parameters to a new flat space and initializes them as their kinds
  /// do, from (seed, parameter name): every change is zero, magnitudes are the norms of W. `tokens` adds trained rows
  /// to embedding and head. With kGiven nothing is decomposed for `adapter.start`: `start_values` and parameters are
  /// written afterwards.
  AdapterSet(const AdapterConfig& config, std::span<const FrozenLayer> layers, RandomKey seed,
             const AddedTokensRequest& tokens = {}, StartOrigin start = StartOrigin::kWeight);
  ~AdapterSet();
  /// Elements of the flat space that such a set would have; nothing is allocated.
  [[nodiscard]] static std::int64_t flat_elements(const AdapterConfig& config, std::span<const FrozenLayer> layers,
                                                  const AddedTokensRequest& tokens = {});
  AdapterSet(AdapterSet&&) noexcept;
  AdapterSet& operator=(AdapterSet&&) noexcept;

  [[nodiscard]] const AdapterConfig& config() const;
  [[nodiscard]] tensor::FlatSpace& space();
  [[nodiscard]] const tensor::FlatSpace& space() const;
  /// The adapter on site `index` of the model, or null.
  [[nodiscard]] const Adapter* find(std::size_t site_index) const;
  [[nodiscard]] const std::vector<std::size_t>& site_indices() const;
  [[nodiscard]] std::span<const std::string> site_names() const;  ///< in the order of `site_indices`
  [[nodiscard]] std::span<const SitePlan> plans() const;          ///< in the order of `site_indices`
  /// The constants that changes are counted from where factors started from W, in the order of the sites; empty for
  /// other starts. Whoever writes them calls `FlatSpace::mark_written` and `refresh`.
  [[nodiscard]] std::vector<std::pair<std::string, at::Tensor>> start_values() const;
  /// The change of a site whose factors started from W as one plain low-rank change of twice its rank and the plan's
  /// scale (in PEFT's terms: r and alpha doubled, rsLoRA's alpha times sqrt(2)): A fp32 [2 rank, in] and B fp32
  /// [out, 2 rank]. Empty for other sites.
  [[nodiscard]] std::vector<at::Tensor> stacked_factors(std::size_t site_index) const;
  /// fp32 [norm_count]: the cached norms of W + change on a site, or null where it is not decomposed.
  [[nodiscard]] const at::Tensor* norm(std::size_t site_index) const;
  /// Brings norm caches up to the flat space's generation. Call once per update, before forward passes.
  void refresh();
  /// Whether something is dropped in training, of inputs or of changes: segments then need `dropout_keys`, and every
  /// update starts with `draw_dropout`.
  [[nodiscard]] bool has_dropout() const;
  /// Draws which rows of changes and which whole sites update `step` leaves out, the same for all its samples, and
  /// brings norms under it. After `refresh`, which ends the draw; segments with `dropout_keys` see it. A site that is
  /// left out is its base, without magnitudes, too.
  void draw_dropout(RandomKey seed, std::int64_t step);
  /// The draw that takes most memory and time: rows are dropped, no site is.
  void rehearse_dropout();
  /// What `find` gives, under the draw. Throws a bug error where there is none and should be.
  [[nodiscard]] const Adapter* find_drawn(std::size_t site_index) const;
  /// Trained rows of added tokens, or null.
  [[nodiscard]] const AddedTokens* added_tokens() const;
  /// Whether a pack of several trials may hold it: linear layers alone, and no added tokens.
  [[nodiscard]] bool packs() const;
  /// Sets every magnitude to the norms of W + change: a LoRA then starts a DoRA at exactly the LoRA's function.
  void reset_magnitudes();

 private:
  struct State;
  /// Chooses sites and adds their parameters to the set's flat space.
  static void add_parameters(State& set, const AdapterConfig& config, std::span<const FrozenLayer> layers,
                             const AddedTokensRequest& tokens, StartOrigin start);
  static void draw(State& set, std::optional<std::pair<RandomKey, std::int64_t>> seed_and_step);
  std::unique_ptr<State> state_;
};

/// Keys of the dropout of samples [first_sample, first_sample + samples) of update `step`, samples counted within the
/// update: they depend on neither ranks nor micro-batches. Pure.
[[nodiscard]] std::vector<RandomKey> dropout_keys(RandomKey seed, std::int64_t step, std::int64_t first_sample,
                                                  std::int64_t samples);

/// Rows of a batch that belong to one trial. A solo run is one segment over all samples.
struct Segment {
  std::int64_t first_sample = 0;
  std::int64_t samples = 0;
  const AdapterSet* adapters = nullptr;  ///< null: the base alone
  std::vector<RandomKey>
      dropout_keys{};  ///< one a sample (`dropout_keys`); empty: nothing is dropped, as in evaluation
};

/// The trials that share one forward pass: their segments cover the batch in order.
struct Pack {
  std::vector<Segment> segments;
  InputObserver* observer = nullptr;  ///< sees the inputs of all layers; null: nobody does
  /// Whether every segment's rows are multiplied with the frozen weights apart from the others': where the bits of a
  /// row depend on how many rows a product has.
  bool products_apart = false;
  [[nodiscard]] static Pack solo(const AdapterSet* adapters, std::int64_t samples) {
    return {{{0, samples, adapters, {}}}};
  }
  [[nodiscard]] std::int64_t samples() const;
  /// The trained rows of added tokens, of which a pack of several trials has none; or null.
  [[nodiscard]] const AddedTokens* added_tokens() const;
};

/// The layer on x, bias included, with every segment's adapter applied: one differentiable operation. x is as LayerForm
/// says, its first axis a multiple of the pack's samples, in the compute dtype (int64 for an embedding). Backward adds
/// parameter gradients to the slots of each flat space. Dropout is PEFT's: for a linear layer, with x~ the dropped
/// input, x Wᵀ + x~ Δᵀ + b, and decomposed x Wᵀ + (f - 1) x~ Wᵀ + f x~ Δᵀ + b with f = m / n by output; by input f
/// scales x~ instead. `layer` must outlive the backward pass.
[[nodiscard]] at::Tensor apply_layer(const at::Tensor& x, const FrozenLayer& layer, const Pack& pack);

}  // namespace dormer::adapter
