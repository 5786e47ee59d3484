#include "peft_kronecker.hpp"

#include <algorithm>
#include <optional>
#include <vector>

#include "dormer/core/error.hpp"

namespace dormer::interop {
namespace {

/// A layer's factors: lokr_w1 [small_out, small_in], lokr_w2 [large_out, large_in, taps].
struct Shapes {
  std::string name;
  std::int64_t small_out = 0;
  std::int64_t small_in = 0;
  std::int64_t large_out = 0;
  std::vector<std::int64_t> large_in;  ///< what it may be; several where the kernel is not known
  bool small_whole = false;
  bool large_whole = false;
  bool tucker = false;
};

const adapter::Site* site_of(const BaseFacts& base, const std::string& name) {
  for (const adapter::FrozenLayer& layer : base.layers) {
    if (layer.site.name == name) {
      return &layer.site;
    }
  }
  return nullptr;
}

/// Input widths that the columns of lokr_w2_b may stand for. Without a word about the kernel a linear layer comes
/// first.
std::vector<std::int64_t> input_widths(std::int64_t columns, const adapter::Site* site) {
  if (site != nullptr) {
    return {columns / site->taps()};
  }
  std::vector<std::int64_t> widths;
  for (const std::int64_t taps : {1, 9, 3, 5, 7, 25, 49}) {
    if (columns % taps == 0) {
      widths.push_back(columns / taps);
    }
  }
  return widths;
}

Shapes shapes_of(const std::string& name, const StoredLayer& layer, const BaseFacts& base) {
  const auto size = [&](const char* factor, std::size_t axis) { return layer.factors.at(factor).shape.at(axis); };
  Shapes shapes{.name = name, .large_in = {}};
  shapes.small_whole = layer.factors.contains("lokr_w1");
  shapes.large_whole = layer.factors.contains("lokr_w2");
  shapes.tucker = layer.factors.contains("lokr_t2");
  shapes.small_out = shapes.small_whole ? size("lokr_w1", 0) : size("lokr_w1_a", 0);
  shapes.small_in = shapes.small_whole ? size("lokr_w1", 1) : size("lokr_w1_b", 1);
  if (shapes.large_whole) {
    shapes.large_out = size("lokr_w2", 0);
    shapes.large_in = {size("lokr_w2", 1)};
  } else if (shapes.tucker) {
    shapes.large_out = size("lokr_w2_a", 1);
    shapes.large_in = {size("lokr_w2_b", 1)};
  } else {
    shapes.large_out = size("lokr_w2_a", 0);
    shapes.large_in = input_widths(size("lokr_w2_b", 1), site_of(base, name));
  }
  return shapes;
}

/// Whether PEFT splits a layer's widths as they are split. `strict`: only by the first of the possible kernels.
bool splits(const Shapes& shapes, std::int64_t factor, bool strict) {
  if (peft_factorization(shapes.small_out * shapes.large_out, factor) !=
      std::pair(shapes.small_out, shapes.large_out)) {
    return false;
  }
  const auto fits = [&](std::int64_t width) {
    return peft_factorization(shapes.small_in * width, factor) == std::pair(shapes.small_in, width);
  };
  return strict ? fits(shapes.large_in.front()) : std::ranges::any_of(shapes.large_in, fits);
}

std::optional<std::int64_t> common_factor(const std::vector<Shapes>& layers) {
  std::int64_t largest = 1;
  for (const Shapes& shapes : layers) {
    largest = std::max({largest, shapes.small_out, shapes.small_in});
  }
  for (const bool strict : {true, false}) {
    const auto serves = [&](std::int64_t factor) {
      return std::ranges::all_of(layers, [&](const Shapes& shapes) { return splits(shapes, factor, strict); });
    };
    if (serves(-1)) {
      return -1;
    }
    for (std::int64_t factor = 1; factor <= 2 * largest; ++factor) {  // beyond, a bound no longer binds
      if (serves(factor)) {
        return factor;
      }
    }
  }
  return std::nullopt;
}

/// Whether PEFT keeps a factor whole: its rank reaches half of the longer side.
bool stays_whole(std::int64_t rank, std::int64_t rows, std::int64_t columns) {
  return 2 * rank >= std::max(rows, columns);
}

void check_ranks(const Shapes& shapes, const StoredLayer& layer, bool decompose_both) {
  if (layer.rank == 0) {
    return;  // both whole: whole_rank serves
  }
  require(shapes.small_whole || shapes.large_whole ||
              layer.factors.at("lokr_w1_b").shape.front() == layer.factors.at("lokr_w2_b").shape.front(),
          Fault::kUsage,
          "the two factors of '{}' have unlike ranks, and PEFT has one a layer; merge the adapter instead",
          shapes.name);
  const bool small = !decompose_both || stays_whole(layer.rank, shapes.small_out, shapes.small_in);
  const bool large = std::ranges::any_of(
      shapes.large_in, [&](std::int64_t width) { return stays_whole(layer.rank, shapes.large_out, width); });
  require(small == shapes.small_whole && large == shapes.large_whole, Fault::kUsage,
          "PEFT would build {} of '{}' {} at the rank {}, and has no setting for another shape; merge the adapter "
          "instead",
          small == shapes.small_whole ? "lokr_w2" : "lokr_w1", shapes.name,
          (small == shapes.small_whole ? large : small) ? "whole" : "of low rank", layer.rank);
}

void check_kernel(const Shapes& shapes, const StoredLayer& layer, const BaseFacts& base, bool tucker) {
  require(!shapes.large_whole || layer.factors.at("lokr_w2").shape.size() != 3, Fault::kUsage,
          "PEFT computes a whole lokr_w2 of a one-dimensional convolution ('{}') in another order of axes; merge the "
          "adapter instead",
          shapes.name);
  const adapter::Site* site = site_of(base, shapes.name);
  const std::size_t axes = std::max(layer.kernel_axes, site == nullptr ? 0 : site->convolution.kernel.size());
  require(axes < 3, Fault::kUsage, "PEFT has no LoKr on a convolution of three axes ('{}'); merge the adapter instead",
          shapes.name);
  const bool has_taps = site != nullptr && site->taps() > 1;
  require(
      !tucker || shapes.tucker || shapes.large_whole || !has_taps, Fault::kUsage,
      "'{}' is not in the Tucker form that other layers have, and PEFT's use_effective_conv2d is for all; merge the "
      "adapter instead",
      shapes.name);
}

}  // namespace

std::pair<std::int64_t, std::int64_t> peft_factorization(std::int64_t width, std::int64_t factor) {
  if (factor > 0 && width % factor == 0) {
    return {factor, width / factor};
  }
  const std::int64_t bound = factor == -1 ? width : factor;
  std::int64_t small = 1;
  std::int64_t large = width;
  const std::int64_t widest = small + large;
  while (small < large) {
    std::int64_t next = small + 1;
    while (width % next != 0) {
      ++next;
    }
    if (next + width / next > widest || next > bound) {
      break;
    }
    small = next;
    large = width / next;
  }
  return {std::min(small, large), std::max(small, large)};
}

std::int64_t whole_rank(const StoredLayer& layer, bool decompose_both) {
  const std::vector<std::int64_t>& small = layer.factors.at("lokr_w1").shape;
  const std::vector<std::int64_t>& large = layer.factors.at("lokr_w2").shape;
  std::int64_t side = std::max(large[0], large[1]);
  if (decompose_both) {
    side = std::max({side, small[0], small[1]});
  }
  return (side + 1) / 2;
}

PeftKronecker peft_kronecker(const StoredAdapter& adapter, const BaseFacts& base) {
  PeftKronecker settings;
  std::vector<Shapes> layers;
  for (const auto& [name, layer] : adapter.layers) {
    if (layer.kind == "lokr") {
      layers.push_back(shapes_of(name, layer, base));
      settings.decompose_both = settings.decompose_both || !layers.back().small_whole;
      settings.tucker = settings.tucker || layers.back().tucker;
    }
  }
  for (const Shapes& shapes : layers) {
    const StoredLayer& layer = adapter.layers.at(shapes.name);
    check_kernel(shapes, layer, base, settings.tucker);
    check_ranks(shapes, layer, settings.decompose_both);
    require(common_factor({shapes}).has_value(), Fault::kUsage,
            "PEFT has no decompose_factor that splits '{}' into {} x {} outputs and {} x {} inputs; merge the adapter "
            "instead",
            shapes.name, shapes.small_out, shapes.large_out, shapes.small_in, shapes.large_in.front());
  }
  const std::optional<std::int64_t> factor = common_factor(layers);
  require(factor.has_value(), Fault::kUsage,
          "PEFT has no decompose_factor that splits all layers as they are split; merge the adapter instead");
  settings.decompose_factor = *factor;
  return settings;
}

}  // namespace dormer::interop
