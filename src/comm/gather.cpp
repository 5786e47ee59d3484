#include "dormer/comm/gather.hpp"

#include <cstddef>
#include <numeric>
#include <span>

#include "dormer/core/buffer_view.hpp"

namespace dormer::comm {

std::vector<std::int64_t> gather_numbers(Communicator& communicator, std::int64_t own) {
  const auto ranks = static_cast<std::size_t>(communicator.size());
  std::vector<std::int64_t> all(ranks);
  const std::vector<std::int64_t> counts(ranks, 1);
  communicator.all_gather(view(std::span<const std::int64_t>(&own, 1)), view(std::span(all)), counts).wait();
  return all;
}

std::vector<std::string> gather_texts(Communicator& communicator, std::string_view own) {
  const std::vector<std::int64_t> sizes = gather_numbers(communicator, static_cast<std::int64_t>(own.size()));
  std::string joined(static_cast<std::size_t>(std::accumulate(sizes.begin(), sizes.end(), std::int64_t{0})), '\0');
  const ConstBufferView send(own.data(), static_cast<std::int64_t>(own.size()), DType::kU8);
  communicator.all_gather(send, {joined.data(), static_cast<std::int64_t>(joined.size()), DType::kU8}, sizes).wait();
  std::vector<std::string> texts;
  std::size_t begin = 0;
  for (const std::int64_t size : sizes) {
    texts.push_back(joined.substr(begin, static_cast<std::size_t>(size)));
    begin += static_cast<std::size_t>(size);
  }
  return texts;
}

std::string broadcast_text(Communicator& communicator, std::string text, int root) {
  auto size = static_cast<std::int64_t>(text.size());
  communicator.broadcast(view(std::span(&size, 1)), root).wait();
  text.resize(static_cast<std::size_t>(size));
  if (size > 0) {
    communicator.broadcast({text.data(), size, DType::kU8}, root).wait();
  }
  return text;
}

}  // namespace dormer::comm
