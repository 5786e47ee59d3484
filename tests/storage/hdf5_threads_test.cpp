#include <array>
#include <atomic>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "dormer/core/atomic_file.hpp"
#include "dormer/storage/hdf5.hpp"
#include "support/temp_directory.hpp"

namespace dormer::storage {
namespace {

/// A child process that is made while another thread is in HDF5 must not wait for that thread, which it does not have.
TEST(Hdf5Threads, OpenForeignFilesBesideThreadsThatReadAndWrite) {
  const test::TempDirectory folder;
  const std::filesystem::path path = folder.path() / "a.h5";
  const std::array<std::int32_t, 3> numbers{4, 5, 6};
  const NamedArray array{"a", DType::kI32, {3}, std::as_bytes(std::span(numbers))};
  const auto image = [&] {
    Hdf5Writer writer;
    writer.set_attribute("format", std::string("x"));
    writer.add_array(array);
    return writer.finish();
  };
  write_file_atomically(path, image().bytes());
  std::atomic<bool> done{false};
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back([&] {
      while (!done) {
        wrong += image().bytes().empty() ? 1 : 0;
        const Hdf5Reader reader = Hdf5Reader::open(path, "test file");
        wrong += reader.string_attribute("format") == "x" ? 0 : 1;
      }
    });
  }
  for (int i = 0; i < 50; ++i) {
    const Hdf5Reader reader = Hdf5Reader::open_foreign(path, "test file");
    std::array<std::int32_t, 3> read{};
    reader.read(*reader.find("a"), std::as_writable_bytes(std::span(read)));
    EXPECT_EQ(read, numbers);
  }
  done = true;
  for (std::thread& thread : threads) {
    thread.join();
  }
  EXPECT_EQ(wrong, 0);
}

}  // namespace
}  // namespace dormer::storage
