#pragma once

#include "dormer/core/host_device.hpp"
