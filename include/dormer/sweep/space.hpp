#pragma once

#include "dormer/sweep/point.hpp"

namespace dormer::sweep {

/// What may be tried.
class Space {};

}  // namespace dormer::sweep
