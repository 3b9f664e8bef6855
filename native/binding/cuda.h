// Memory of the GPU as JavaScript holds it, and how a binding runs a kernel there.
#pragma once

#include "binding/args.h"
#include "kernels/failures.h"
#include "runtime/cuda/queue.h"

namespace prl {

// The memory behind a tensor with device 'cuda'. What it points to is given back when JavaScript disposes of it or
// forgets it.
struct DeviceMemory {
  void* pointer = nullptr;  // null: disposed of
  size_t bytes = 0;
  enum Origin { kAllocated, kBorrowed, kIpc } origin = kAllocated;
  void* ipc_base = nullptr;    // kIpc: what was opened
  bool address_known = false;  // JavaScript has asked for it: the memory must stay where it is
};
// The memory of `value` (Tensor.memory); throws when it is something else or disposed of.
const DeviceMemory& DeviceMemoryOf(Napi::Env env, Napi::Value value, const char* name);

// Begin, the kernel, End. `kernel` is the public name of what runs and `bounds` what its failures compare with.
template <typename Run>
CudaTicketPtr RunOnCuda(Napi::Env env, const char* kernel, FailureBounds bounds, size_t workspace_bytes,
                        const Run& run) {
  CudaCall call;
  CudaTicketPtr ticket;
  ThrowIfError(env, call.Begin(workspace_bytes));
  ThrowIfError(env, run(call));
  ThrowIfError(env, call.End(kernel, DescribeWith(bounds), &ticket));
  return ticket;
}
// A kernel where its tensors are, for a binding that returns nothing. On the GPU it is queued.
template <typename Kernel>
Napi::Value RunKernel(const Args& args, const char* name, const Kernel& kernel, Status (*cpu)(const Kernel&),
                      Status (*cuda)(const Kernel&, const CudaCall&), FailureBounds bounds,
                      size_t workspace_bytes = 0) {
  if (args.on_gpu()) {
    RunOnCuda(args.env(), name, bounds, workspace_bytes, [&](const CudaCall& call) { return cuda(kernel, call); });
  } else {
    ThrowIfError(args.env(), cpu(kernel));
  }
  return args.env().Undefined();
}
// A ticket for JavaScript, and the values of the call that it stands for: waits, throws the call's failure.
Napi::Value BoxTicket(Napi::Env env, CudaTicketPtr ticket);
const double* ValuesOf(const Args& args, const char* name);

}  // namespace prl
