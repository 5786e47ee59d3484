#include <cstdlib>
#include <string>

#include <gmock/gmock.h>

#include "support/mpi_world.hpp"

namespace dormer::comm {
namespace {

TEST(MpiWorld, HasTheRanksThatTheLauncherStarted) {
  const char* size = std::getenv("OMPI_COMM_WORLD_SIZE");
  const char* rank = std::getenv("OMPI_COMM_WORLD_RANK");
  ASSERT_NE(size, nullptr) << "start with tests/support/mpirun.sh";
  const Identity& identity = testing::world().identity();
  EXPECT_EQ(identity.transport, "mpi");
  EXPECT_EQ(identity.size, std::stoi(size));
  EXPECT_EQ(identity.rank, std::stoi(rank));
  EXPECT_EQ(identity.local_rank, std::stoi(std::getenv("OMPI_COMM_WORLD_LOCAL_RANK")));
  EXPECT_EQ(identity.local_size, identity.size);
}

}  // namespace
}  // namespace dormer::comm
