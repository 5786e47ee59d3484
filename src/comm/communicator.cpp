#include "dormer/comm/communicator.hpp"

#include "dormer/core/error.hpp"

namespace dormer::comm {

std::string_view name_of(Operation operation) {
  switch (operation) {
    case Operation::kAllReduce:
      return "all_reduce";
    case Operation::kReduceScatter:
      return "reduce_scatter";
    case Operation::kAllGather:
      return "all_gather";
    case Operation::kBroadcast:
      return "broadcast";
    case Operation::kExchange:
      return "exchange";
    case Operation::kBarrier:
      return "barrier";
    case Operation::kSplit:
      return "split";
    case Operation::kFinalize:
      return "finalize";
  }
  return "unknown operation";
}

std::string_view name_of(ReduceOp op) {
  switch (op) {
    case ReduceOp::kSum:
      return "sum";
    case ReduceOp::kMin:
      return "min";
    case ReduceOp::kMax:
      return "max";
  }
  return "unknown reduction";
}

std::unique_ptr<Communicator> Communicator::split(int /*part*/) {
  fail(Fault::kBug, "a communicator over {} has no parts", identity().transport);
}

}  // namespace dormer::comm
