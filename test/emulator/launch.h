// Between the two halves of the emulator: emulator.cc runs a launch, runtime.cc is the host API that queues it.
#pragma once

#include <functional>
#include <string>

#include "fibers.h"

namespace prl_emulator {

struct LaunchShape {
  dim3 grid, block, cluster;
  size_t shared_bytes;
  int target;  // of the code
};

// Runs all threads of a launch on this OS thread; false when it failed (a deadlock, a broken contract), with the
// reason.
bool RunLaunch(const LaunchShape& shape, const std::function<void()>& thread, std::string* reason);

}  // namespace prl_emulator
