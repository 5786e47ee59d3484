#include "fused_layers.hpp"

#include <algorithm>
#include <array>
#include <numeric>
#include <optional>

#include "dormer/core/error.hpp"

namespace dormer::interop {
namespace {

/// How many rows a layer of Flux's has in its mlp for one of its hidden state.
constexpr std::int64_t kMlpRatio = 4;

constexpr std::string_view kWayOut = "export it merged (export.for: merged)";

std::int64_t row_size(const StoredArray& array) {
  return std::accumulate(array.shape.begin() + 1, array.shape.end(), std::int64_t{1}, std::multiplies<>());
}

StoredArray rows(const StoredArray& array, std::int64_t first, std::int64_t count) {
  const std::int64_t size = row_size(array);
  StoredArray result{.shape = array.shape, .values = {}};
  result.shape.front() = count;
  result.values.assign(array.values.begin() + first * size, array.values.begin() + (first + count) * size);
  return result;
}

void append_rows(StoredArray& target, const StoredArray& more) {
  if (target.shape.empty()) {
    target = more;
    return;
  }
  target.shape.front() += more.shape.front();
  target.values.insert(target.values.end(), more.values.begin(), more.values.end());
}

StoredArray columns(const StoredArray& matrix, const std::vector<std::int64_t>& chosen) {
  StoredArray result{.shape = {matrix.shape[0], static_cast<std::int64_t>(chosen.size())}, .values = {}};
  for (std::int64_t row = 0; row < matrix.shape[0]; ++row) {
    for (const std::int64_t column : chosen) {
      result.values.push_back(matrix.values[static_cast<std::size_t>(row * matrix.shape[1] + column)]);
    }
  }
  return result;
}

StoredArray swapped_rows(const StoredArray& array) {
  const std::int64_t half = array.shape.front() / 2;
  StoredArray result = rows(array, half, half);
  append_rows(result, rows(array, 0, half));
  return result;
}

/// The end of an odd-sized or unknown thing's error.
void require_even(const std::string& name, std::int64_t count) {
  require(count % 2 == 0, Fault::kUsage, "'{}' has {} rows, an odd number, where the other naming swaps halves; {}",
          name, count, kWayOut);
}

bool is_low_rank(const StoredLayer& layer) {
  return layer.kind == "lora" || layer.kind == "locon";
}

bool is_whole(const StoredLayer& layer) {
  return layer.kind == "full" || layer.kind == "diff";
}

/// What neither fuses nor splits.
void require_rows(const std::string& name, const StoredLayer& layer) {
  require(
      is_whole(layer) || is_low_rank(layer), Fault::kUsage,
      "'{}' is a {}, whose rows are part of one product, so that it does not go over to names under which other layers "
      "are fused; {}, or train a lora",
      name, layer.kind, kWayOut);
  require(is_whole(layer) || (layer.factors.contains("lora_A") && !layer.factors.contains("lora_mid") &&
                              layer.factors.at("lora_A").shape.size() == 2),
          Fault::kUsage, "'{}' is no linear layer, which that of other names is; {}", name, kWayOut);
  require(
      layer.axis != adapter::Axis::kInput, Fault::kUsage,
      "'{}' has magnitudes of the input axis, which other names' fused layers do not share (each has column norms of "
      "its own); {}, train the layers as the program has them, or decompose by the output axis",
      name, kWayOut);
}

/// Alpha such that alpha / rank is the scale, where the file said one or none would not do.
void set_alpha(StoredLayer& layer, bool said) {
  layer.alpha = said || layer.scale != 1.0 ? std::optional(plain_alpha(layer)) : std::nullopt;
}

/// What is known of parts before they are fused.
struct PartsPlan {
  std::vector<std::int64_t> heights;
  std::int64_t columns = 0;
  const StoredLayer* first = nullptr;  // of those that have an adapter
  bool complete = true;
};

void require_alike(const FusedPart& one, const FusedPart& other, const std::string& name) {
  const StoredLayer& a = *one.layer;
  const StoredLayer& b = *other.layer;
  require(is_low_rank(a) == is_low_rank(b) && (is_low_rank(a) || a.kind == b.kind) && a.axis == b.axis, Fault::kUsage,
          "'{}' and '{}' are one layer, '{}', under other names, but they are adapted in unlike ways ({}{} and {}{}); "
          "{}, or "
          "train them alike",
          one.name, other.name, name, a.kind, a.axis ? ", decomposed" : "", b.kind, b.axis ? ", decomposed" : "",
          kWayOut);
}

PartsPlan plan_parts(const std::string& name, const std::vector<FusedPart>& parts, bool rest) {
  PartsPlan plan{.heights = std::vector<std::int64_t>(parts.size(), 0)};
  const FusedPart* first = nullptr;
  std::int64_t third = 0;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    if (parts[i].layer == nullptr) {
      plan.complete = false;
      continue;
    }
    require_rows(parts[i].name, *parts[i].layer);
    const StoredShape shape = shape_of(parts[i].name, *parts[i].layer);
    first = first == nullptr ? &parts[i] : first;
    plan.columns = plan.columns == 0 ? shape.columns : plan.columns;
    require_alike(*first, parts[i], name);
    plan.heights[i] = shape.out;
    const bool is_third = !rest || i + 1 < parts.size();
    third = is_third && third == 0 ? shape.out : third;
    require(plan.columns == shape.columns && (!is_third || third == shape.out), Fault::kUsage,
            "'{}' of {} x {} cannot be one layer, '{}', with '{}' of {} columns and parts of {} rows; the file is of "
            "another model",
            parts[i].name, shape.out, shape.columns, name, first->name, plan.columns, third);
  }
  invariant(first != nullptr, "'{}' has no parts", name);
  plan.first = first->layer;
  require(!rest || third == 0 || third == plan.columns, Fault::kUsage,
          "'{}' has parts of {} rows and {} columns, which are square in this model; the file is of another model",
          name, third, plan.columns);
  third = third == 0 ? plan.columns : third;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const bool is_third = !rest || i + 1 < parts.size();
    plan.heights[i] = plan.heights[i] > 0 ? plan.heights[i] : is_third ? third : kMlpRatio * plan.columns;
  }
  return plan;
}

void require_parts(const std::string& name, const std::vector<FusedPart>& parts, const PartsPlan& plan) {
  if (plan.complete || (!plan.first->axis && plan.first->kind != "full")) {
    return;
  }
  const auto missing = std::ranges::find(parts, nullptr, &FusedPart::layer);
  require(
      false, Fault::kUsage,
      "'{}' has no adapter, but what it is one layer with under other names ('{}') is {}, and the file does not hold "
      "the weight; {}, or train that layer too",
      missing->name, name, plan.first->axis ? "decomposed" : "given whole", kWayOut);
}

bool share_input(const std::vector<FusedPart>& parts, const StoredLayer& first) {
  return std::ranges::all_of(parts, [&first](const FusedPart& part) {
    return part.layer == nullptr || (part.layer->scale == first.scale &&
                                     part.layer->factors.at("lora_A").values == first.factors.at("lora_A").values);
  });
}

/// lora_B of one part at its place among the columns of all.
StoredArray placed(const StoredArray& b, std::int64_t first, std::int64_t rank, double factor) {
  StoredArray result{.shape = {b.shape[0], rank},
                     .values = std::vector<float>(static_cast<std::size_t>(b.shape[0] * rank))};
  for (std::int64_t row = 0; row < b.shape[0]; ++row) {
    for (std::int64_t column = 0; column < b.shape[1]; ++column) {
      const double value = b.values[static_cast<std::size_t>(row * b.shape[1] + column)];
      result.values[static_cast<std::size_t>(row * rank + first + column)] = static_cast<float>(value * factor);
    }
  }
  return result;
}

StoredArray zeros(std::int64_t height, std::int64_t width) {
  return {.shape = {height, width}, .values = std::vector<float>(static_cast<std::size_t>(height * width))};
}

void fuse_factors(StoredLayer& result, const std::vector<FusedPart>& parts, const PartsPlan& plan) {
  const bool shared = share_input(parts, *plan.first);
  const bool one_scale = std::ranges::all_of(
      parts, [&](const FusedPart& part) { return part.layer == nullptr || part.layer->scale == plan.first->scale; });
  StoredArray a;
  result.rank = 0;
  for (const FusedPart& part : parts) {
    if (part.layer != nullptr && !(shared && result.rank > 0)) {
      append_rows(a, part.layer->factors.at("lora_A"));
      result.rank = a.shape.front();
    }
  }
  StoredArray b;
  std::int64_t first = 0;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    if (parts[i].layer == nullptr) {
      append_rows(b, zeros(plan.heights[i], result.rank));
      continue;
    }
    const StoredArray& own = parts[i].layer->factors.at("lora_B");
    append_rows(b, placed(own, first, result.rank, one_scale ? 1.0 : parts[i].layer->scale));
    first += shared ? 0 : own.shape[1];
  }
  result.scale = one_scale ? plan.first->scale : 1.0;
  result.factors = {{"lora_A", std::move(a)}, {"lora_B", std::move(b)}};
}

void fuse_whole(StoredLayer& result, const std::string& name, const std::vector<FusedPart>& parts,
                const PartsPlan& plan) {
  result.factors.clear();
  for (const auto& [factor, values] : plan.first->factors) {
    StoredArray& all = result.factors[factor];
    for (std::size_t i = 0; i < parts.size(); ++i) {
      if (parts[i].layer == nullptr) {
        StoredArray none{.shape = values.shape, .values = {}};
        none.shape.front() = plan.heights[i];
        none.values.resize(static_cast<std::size_t>(plan.heights[i] * row_size(values)));
        append_rows(all, none);
        continue;
      }
      const auto& own = parts[i].layer->factors;
      require(own.contains(factor) && own.size() == plan.first->factors.size(), Fault::kUsage,
              "'{}' has other arrays than the rest of '{}', of which it is a part under other names; {}", parts[i].name,
              name, kWayOut);
      append_rows(all, own.at(factor));
    }
  }
}

/// For every part the rows of lora_A that serve it alone; nothing where some serve several or none can be told.
std::optional<std::vector<std::vector<std::int64_t>>> own_columns(const StoredArray& b,
                                                                  const std::vector<std::int64_t>& heights) {
  std::vector<std::vector<std::int64_t>> owned(heights.size());
  std::optional<std::size_t> before;
  std::vector<std::int64_t> unused;
  for (std::int64_t column = 0; column < b.shape[1]; ++column) {
    std::optional<std::size_t> owner;
    std::int64_t row = 0;
    for (std::size_t part = 0; part < heights.size(); ++part) {
      bool used = false;
      for (const std::int64_t end = row + heights[part]; row < end; ++row) {
        used = used || b.values[static_cast<std::size_t>(row * b.shape[1] + column)] != 0.0F;
      }
      if (used && owner) {
        return {};
      }
      owner = used ? part : owner;
    }
    owner = owner ? owner : before;  // of no use to any: it stays with the row before it
    if (!owner) {
      unused.push_back(column);
      continue;
    }
    owned[*owner].insert(owned[*owner].end(), unused.begin(), unused.end());
    unused.clear();
    owned[*owner].push_back(column);
    before = owner;
  }
  return before ? std::optional(owned) : std::nullopt;
}

}  // namespace

StoredLayer fused(const std::string& name, const std::vector<FusedPart>& parts, bool rest) {
  const PartsPlan plan = plan_parts(name, parts, rest);
  require_parts(name, parts, plan);
  StoredLayer result = *plan.first;
  bool said = false;
  result.magnitude.clear();
  for (const FusedPart& part : parts) {
    if (part.layer != nullptr) {
      said = said || part.layer->alpha.has_value();
      result.dtype = part.layer->dtype == result.dtype ? result.dtype : DType::kF32;
      result.magnitude.insert(result.magnitude.end(), part.layer->magnitude.begin(), part.layer->magnitude.end());
    }
  }
  if (is_whole(result)) {
    fuse_whole(result, name, parts, plan);
  } else {
    fuse_factors(result, parts, plan);
    set_alpha(result, said);
  }
  return result;
}

std::vector<StoredLayer> split(const std::string& name, const StoredLayer& layer,
                               const std::vector<std::int64_t>& heights) {
  require_rows(name, layer);
  const auto owned =
      is_low_rank(layer) && !layer.axis ? own_columns(layer.factors.at("lora_B"), heights) : std::nullopt;
  std::vector<StoredLayer> result;
  std::int64_t first = 0;
  for (std::size_t i = 0; i < heights.size(); ++i) {
    StoredLayer part = layer;
    for (auto& [factor, values] : part.factors) {
      if (factor != "lora_A") {
        values = rows(values, first, heights[i]);
      }
    }
    if (layer.axis) {
      part.magnitude.assign(layer.magnitude.begin() + first, layer.magnitude.begin() + first + heights[i]);
    }
    if (owned) {
      const std::vector<std::int64_t>& own = (*owned)[i];
      StoredArray a;
      for (const std::int64_t row : own) {
        append_rows(a, rows(layer.factors.at("lora_A"), row, 1));
      }
      part.factors["lora_A"] = std::move(a);
      part.factors["lora_B"] = columns(part.factors.at("lora_B"), own);
      part.rank = static_cast<std::int64_t>(own.size());
      part.kind = own.empty() ? "" : layer.kind;
    }
    if (is_low_rank(layer)) {
      set_alpha(part, layer.alpha.has_value());
    }
    result.push_back(std::move(part));
    first += heights[i];
  }
  return result;
}

StoredLayer with_halves_swapped(const std::string& name, const StoredLayer& layer) {
  constexpr std::array kOfRows{"lora_B", "diff", "diff_b", "weight", "bias", "hada_w1_a", "hada_w2_a", "lokr_w1"};
  StoredLayer result = layer;
  require(!layer.factors.contains("hada_t1") && !layer.factors.contains("lokr_t2"), Fault::kUsage,
          "'{}' is no linear layer, which that of other names is; {}", name, kWayOut);
  for (auto& [factor, values] : result.factors) {
    if (std::ranges::count(kOfRows, factor) > 0 || factor == "lokr_w1_a") {
      require_even(name, values.shape.front());
      values = swapped_rows(values);
    }
  }
  if (layer.axis == adapter::Axis::kOutput) {
    const auto half = static_cast<std::ptrdiff_t>(layer.magnitude.size() / 2);
    std::ranges::rotate(result.magnitude, result.magnitude.begin() + half);
  }
  return result;
}

}  // namespace dormer::interop
