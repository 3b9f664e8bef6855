// The host API: device memory, streams and events. A stream is an OS thread with a queue; what is queued runs later,
// also a copy, so that a host buffer that is reused too early shows as a wrong result, as on a GPU.
//
//   PRL_EMULATOR_DEVICES      how many devices there are (1)
//   PRL_EMULATOR_CAPABILITY   compute capability (9.0)
//   PRL_EMULATOR_PTX          what the kernels were compiled for, if it is less: as PTX of 8.0 on a GPU of 9.0
//   PRL_EMULATOR_CLUSTER      most blocks that a cluster can have on this part of a GPU (16)
//   PRL_EMULATOR_EXCLUSIVE    "0,2": GPUs that another process has for itself: what needs a context fails
//   PRL_EMULATOR_BROKEN       "0,2": GPUs that answer no question
//   PRL_EMULATOR_MEMORY       bytes of each device (8 GiB)
//   PRL_EMULATOR_PINNED       bytes of pinned memory (no limit)
//   PRL_EMULATOR_PAUSE        microseconds between a change of a kernel's attribute and the return to the host (0)
//   PRL_EMULATOR_SPIN         refuse: a wait that would keep a core busy fails
//   PRL_EMULATOR_FAULT        1: kernels that are launched now break the context when they run
//   PRL_EMULATOR_DELAY        microseconds that a queued operation lies at least, unless the host waits for it (200)
//   PRL_EMULATOR_ORDER        forward | reverse | shuffle:SEED: in which order fibers, blocks and clusters run
#include "cuda_runtime.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <thread>

#include "launch.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(address, bytes) ((void)0)
#define ASAN_UNPOISON_MEMORY_REGION(address, bytes) ((void)0)
#endif

using Clock = std::chrono::steady_clock;

namespace {

struct Mark {  // one recording of an event
  bool done = false;
  Clock::time_point time;
};
struct Task {
  std::function<void()> run;
  Clock::time_point queued;
  bool always;  // also after a failed launch: what others wait for
};

}  // namespace

struct prl_emulator_stream {
  std::deque<Task> queue;  // the first one runs
  uint64_t submitted = 0, completed = 0;
  bool blocking = true;  // takes turns with the null stream
  bool ending = false;
  int device = 0;
};
struct prl_emulator_event {
  std::shared_ptr<Mark> mark;  // null: never recorded
  bool timed = true;
  bool sleeps = false;  // who waits for it
};

namespace {

struct Allocation {
  size_t bytes, mapped;
  cudaMemoryType type;
  int device;
  off_t offset;       // in the memory file
  bool mine, opened;  // opened: another process's
};
struct FunctionLimits {
  int shared_bytes = 48 * 1024;
  bool large_cluster = false;
};

constexpr int kSharedPerBlock = 48 * 1024;
constexpr size_t kQuarantine = (size_t)64 << 20;
constexpr int kMultiprocessors = 4;  // few, so that a small test also takes the grid-stride path

// All that is global; never destroyed, for the streams' threads still run when the process ends.
struct Runtime {
  std::mutex mutex;
  std::condition_variable changed;
  std::set<cudaStream_t> streams;
  std::set<cudaEvent_t> events;
  prl_emulator_stream* null_stream = nullptr;
  int waiting = 0;  // host threads that wait for a stream
  std::map<const void*, Allocation> allocations;
  std::deque<std::pair<unsigned char*, Allocation>> freed;
  size_t freed_bytes = 0, used = 0, pinned = 0;
  int memory_file = -1;
  off_t memory_end = 0;
  std::map<std::pair<const void*, int>, FunctionLimits> functions;  // of a kernel on a device
  std::set<int> contexts;                                           // devices that have one
  std::set<std::string> opened_handles;
  std::map<const void*, std::string> handle_of;
  cudaError_t broken = cudaSuccess;  // a failed launch breaks the context: every later call says so
};
Runtime& runtime() {
  static Runtime& the = *new Runtime;
  return the;
}
using Lock = std::unique_lock<std::mutex>;

thread_local cudaError_t last_error = cudaSuccess;
thread_local int current_device = 0;
thread_local bool in_host_function = false;

long long Environment(const char* name, long long otherwise) {
  const char* text = getenv(name);
  return text && *text ? atoll(text) : otherwise;
}
int Devices() { return (int)Environment("PRL_EMULATOR_DEVICES", 1); }
size_t Memory() { return (size_t)Environment("PRL_EMULATOR_MEMORY", 8ll << 30); }
int Capability() {  // 90 for 9.0
  const char* text = getenv("PRL_EMULATOR_CAPABILITY");
  return text && *text ? (int)(atof(text) * 10 + 0.5) : 90;
}
int CodeTarget() {
  const char* text = getenv("PRL_EMULATOR_PTX");
  return text && *text ? std::min(Capability(), (int)(atof(text) * 10 + 0.5)) : Capability();
}
// Whether the number is one of the variable's list, as "0,2".
bool Lists(const char* name, int number) {
  const char* text = getenv(name);
  return text && ("," + std::string(text) + ",").find("," + std::to_string(number) + ",") != std::string::npos;
}
int MostOfCluster() { return (int)Environment("PRL_EMULATOR_CLUSTER", 16); }
int SharedOptin() {
  const int capability = Capability();
  if (capability < 80) return 64 * 1024;
  if (capability == 80 || capability == 87) return 163 * 1024;
  return capability >= 90 && capability < 120 ? 227 * 1024 : 99 * 1024;
}

cudaError_t Done(cudaError_t error) {
  if (error != cudaSuccess) last_error = error;
  return error;
}
// What every call looks at first.
cudaError_t Ready() {
  if (in_host_function) return Done(cudaErrorNotPermitted);
  if (Devices() <= 0) return Done(cudaErrorNoDevice);
  Lock lock(runtime().mutex);
  return Done(runtime().broken);
}
// What all but questions about a device look at first: they make the context of the thread's device.
cudaError_t Context(int device) {
  if (const cudaError_t error = Ready()) return error;
  if (Lists("PRL_EMULATOR_BROKEN", device)) return Done(cudaErrorUnknown);
  Lock lock(runtime().mutex);
  if (runtime().contexts.count(device)) return cudaSuccess;
  if (Lists("PRL_EMULATOR_EXCLUSIVE", device)) return Done(cudaErrorDevicesUnavailable);
  runtime().contexts.insert(device);
  return cudaSuccess;
}
#define PRL_READY()                                                        \
  do {                                                                     \
    if (const cudaError_t error_ = Context(current_device)) return error_; \
  } while (0)
// Without a context.
#define PRL_ASK(device)                                                         \
  do {                                                                          \
    if (const cudaError_t error_ = Ready()) return error_;                      \
    if (device < 0 || device >= Devices()) return Done(cudaErrorInvalidDevice); \
    if (Lists("PRL_EMULATOR_BROKEN", device)) return Done(cudaErrorUnknown);    \
  } while (0)

// A wait that CUDA makes by looking again and again.
bool RefusesToSpin() {
  const char* spin = getenv("PRL_EMULATOR_SPIN");
  if (!spin || strcmp(spin, "refuse") != 0) return false;
  fprintf(stderr, "prl emulator: a wait that keeps a core busy (no cudaEventBlockingSync)\n");
  return true;
}

// ---- streams
void Work(prl_emulator_stream* stream) {
  Runtime& r = runtime();
  Lock lock(r.mutex);
  for (;;) {
    while (stream->queue.empty() && !stream->ending) r.changed.wait(lock);
    if (stream->queue.empty()) break;
    Task& task = stream->queue.front();  // stays where it is: only this thread takes from the front
    const auto due = task.queued + std::chrono::microseconds(Environment("PRL_EMULATOR_DELAY", 200));
    while (r.waiting == 0 && !stream->ending && Clock::now() < due) r.changed.wait_until(lock, due);
    const bool run = task.always || r.broken == cudaSuccess;
    lock.unlock();
    if (run) task.run();
    lock.lock();
    stream->queue.pop_front();
    ++stream->completed;
    r.changed.notify_all();
  }
  delete stream;
}

prl_emulator_stream* NewStream(bool blocking) {
  auto* stream = new prl_emulator_stream;
  stream->blocking = blocking;
  stream->device = current_device;
  runtime().streams.insert(stream);
  std::thread(Work, stream).detach();
  return stream;
}

// Null where there is no such stream. The lock is held.
prl_emulator_stream* Find(cudaStream_t handle) {
  Runtime& r = runtime();
  if (handle == nullptr || handle == cudaStreamLegacy) {
    if (!r.null_stream) r.null_stream = NewStream(true);
    return r.null_stream;
  }
  return r.streams.count(handle) ? handle : nullptr;
}

void Push(prl_emulator_stream* stream, std::function<void()> run, bool always = false) {
  stream->queue.push_back({std::move(run), Clock::now(), always});
  ++stream->submitted;
  runtime().changed.notify_all();
}

// `waiter` goes on when what is in `other` now is done.
void PushWait(prl_emulator_stream* waiter, prl_emulator_stream* other) {
  if (other->completed >= other->submitted) return;
  auto mark = std::make_shared<Mark>();
  Push(
      other,
      [mark] {
        Lock lock(runtime().mutex);
        mark->done = true;
        runtime().changed.notify_all();
      },
      true);
  Push(
      waiter,
      [mark] {
        Lock lock(runtime().mutex);
        while (!mark->done) runtime().changed.wait(lock);
      },
      true);
}

// Queues; the null stream and the blocking ones wait for each other.
cudaError_t Submit(cudaStream_t handle, std::function<void()> run, bool always = false) {
  Runtime& r = runtime();
  Lock lock(r.mutex);
  prl_emulator_stream* stream = Find(handle);
  if (!stream) return Done(cudaErrorInvalidResourceHandle);
  if (stream == r.null_stream) {
    for (prl_emulator_stream* other : r.streams) {
      if (other != stream && other->blocking) PushWait(stream, other);
    }
  } else if (stream->blocking && r.null_stream) {
    PushWait(stream, r.null_stream);
  }
  Push(stream, std::move(run), always);
  return cudaSuccess;
}

template <typename Condition>
cudaError_t WaitUntil(Lock& lock, Condition condition) {
  Runtime& r = runtime();
  ++r.waiting;
  r.changed.notify_all();
  while (!condition()) r.changed.wait(lock);
  --r.waiting;
  return Done(r.broken);
}

cudaError_t WaitForAll() {
  Runtime& r = runtime();
  Lock lock(r.mutex);
  std::map<prl_emulator_stream*, uint64_t> goals;
  for (prl_emulator_stream* stream : r.streams) goals[stream] = stream->submitted;
  return WaitUntil(lock, [&] {
    for (auto& [stream, goal] : goals) {
      if (r.streams.count(stream) && stream->completed < goal) return false;
    }
    return true;
  });
}

// ---- memory. Device memory is a file in memory, so that another process can map a part of it (cudaIpcOpenMemHandle).
size_t PageUp(size_t bytes) {
  const size_t page = (size_t)sysconf(_SC_PAGESIZE);
  return (bytes + page - 1) / page * page;
}

unsigned char* Map(int file, size_t mapped, off_t offset) {
  // One page more, without access: the end of the allocation is a wall.
  const size_t guard = PageUp(1);
  void* place = mmap(nullptr, mapped + guard, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (place == MAP_FAILED) return nullptr;
  if (mmap(place, mapped, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, file, offset) == MAP_FAILED) {
    munmap(place, mapped + guard);
    return nullptr;
  }
  return static_cast<unsigned char*>(place);
}

void Unmap(unsigned char* pointer, const Allocation& allocation) {
  ASAN_UNPOISON_MEMORY_REGION(pointer, allocation.mapped);
  munmap(pointer, allocation.mapped + PageUp(1));
}

const Allocation* FindAllocation(const void* pointer, const void** base = nullptr) {
  auto& all = runtime().allocations;
  auto next = all.upper_bound(pointer);
  if (next == all.begin()) return nullptr;
  --next;
  if (static_cast<const unsigned char*>(pointer) >= static_cast<const unsigned char*>(next->first) + next->second.bytes)
    return nullptr;
  if (base) *base = next->first;
  return &next->second;
}

// All of [pointer, pointer + bytes) is of one device allocation.
bool OnDevice(const void* pointer, size_t bytes) {
  const void* base = nullptr;
  const Allocation* allocation = FindAllocation(pointer, &base);
  return allocation && allocation->type == cudaMemoryTypeDevice &&
         (size_t)((const unsigned char*)pointer - (const unsigned char*)base) + bytes <= allocation->bytes;
}
bool OnHost(const void* pointer, size_t bytes) {
  const void* base = nullptr;
  const Allocation* allocation = FindAllocation(pointer, &base);
  if (!allocation) return pointer != nullptr;
  return allocation->type == cudaMemoryTypeHost &&
         (size_t)((const unsigned char*)pointer - (const unsigned char*)base) + bytes <= allocation->bytes;
}

bool CopyIsLegal(const void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
  Lock lock(runtime().mutex);
  const bool to_device = OnDevice(to, bytes), from_device = OnDevice(from, bytes);
  const bool to_host = OnHost(to, bytes), from_host = OnHost(from, bytes);
  switch (kind) {
    case cudaMemcpyHostToHost: return to_host && from_host;
    case cudaMemcpyHostToDevice: return to_device && from_host;
    case cudaMemcpyDeviceToHost: return to_host && from_device;
    case cudaMemcpyDeviceToDevice: return to_device && from_device;
    case cudaMemcpyDefault: return (to_device || to_host) && (from_device || from_host);
  }
  return false;
}

struct IpcHandle {
  char magic[8];
  int64_t pid;
  int32_t file, device;
  int64_t offset;
  uint64_t bytes;
};
static_assert(sizeof(IpcHandle) <= sizeof(cudaIpcMemHandle_t), "the handle has 64 bytes");
constexpr char kIpcMagic[8] = {'p', 'r', 'l', '-', 'e', 'm', 'u', 'l'};

}  // namespace

// ---- errors
cudaError_t cudaPeekAtLastError() {
  Lock lock(runtime().mutex);
  return runtime().broken ? runtime().broken : last_error;
}
cudaError_t cudaGetLastError() {
  const cudaError_t error = cudaPeekAtLastError();
  last_error = cudaSuccess;
  return error;
}
const char* cudaGetErrorName(cudaError_t error) {
  switch (error) {
#define PRL_NAME(name, value, text) \
  case name: return #name;
    PRL_EMULATOR_ERRORS(PRL_NAME)
  }
  return "unrecognized error code";
}
const char* cudaGetErrorString(cudaError_t error) {
  switch (error) {
#define PRL_TEXT(name, value, text) \
  case name: return text;
    PRL_EMULATOR_ERRORS(PRL_TEXT)
  }
  return "unrecognized error code";
}

// ---- devices
cudaError_t cudaGetDeviceCount(int* count) {
  *count = std::max(0, Devices());
  return *count ? cudaSuccess : Done(cudaErrorNoDevice);
}
cudaError_t cudaGetDevice(int* device) {
  if (const cudaError_t error = Ready()) return error;
  *device = current_device;
  return cudaSuccess;
}
// Since CUDA 12 it makes the context.
cudaError_t cudaSetDevice(int device) {
  PRL_ASK(device);
  if (const cudaError_t error = Context(device)) return error;
  current_device = device;
  return cudaSuccess;
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* p, int device) {
  PRL_ASK(device);
  *p = {};
  snprintf(p->name, sizeof p->name, "prl-node CUDA emulator");
  snprintf(p->uuid.bytes, sizeof p->uuid.bytes, "prl-emulator-%d", device % 100);
  p->totalGlobalMem = Memory();
  p->sharedMemPerBlock = kSharedPerBlock;
  p->sharedMemPerBlockOptin = (size_t)SharedOptin();
  p->sharedMemPerMultiprocessor = (size_t)SharedOptin() + 1024;
  p->regsPerBlock = 65536;
  p->warpSize = 32;
  p->maxThreadsPerBlock = 1024;
  p->maxThreadsPerMultiProcessor = 2048;
  p->maxBlocksPerMultiProcessor = 32;
  p->major = Capability() / 10;
  p->minor = Capability() % 10;
  p->multiProcessorCount = kMultiprocessors;
  p->l2CacheSize = 50 << 20;
  p->memoryBusWidth = 5120;
  p->pciBusID = device + 1;
  p->unifiedAddressing = 1;
  return cudaSuccess;
}
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
  cudaDeviceProp p;
  if (const cudaError_t error = cudaGetDeviceProperties(&p, device)) return error;
  switch (attribute) {
    case cudaDevAttrMaxThreadsPerBlock: *value = p.maxThreadsPerBlock; return cudaSuccess;
    case cudaDevAttrMaxSharedMemoryPerBlock: *value = (int)p.sharedMemPerBlock; return cudaSuccess;
    case cudaDevAttrWarpSize: *value = p.warpSize; return cudaSuccess;
    case cudaDevAttrMultiProcessorCount: *value = p.multiProcessorCount; return cudaSuccess;
    case cudaDevAttrL2CacheSize: *value = p.l2CacheSize; return cudaSuccess;
    case cudaDevAttrMaxThreadsPerMultiProcessor: *value = p.maxThreadsPerMultiProcessor; return cudaSuccess;
    case cudaDevAttrComputeCapabilityMajor: *value = p.major; return cudaSuccess;
    case cudaDevAttrComputeCapabilityMinor: *value = p.minor; return cudaSuccess;
    case cudaDevAttrMaxSharedMemoryPerMultiprocessor: *value = (int)p.sharedMemPerMultiprocessor; return cudaSuccess;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin: *value = (int)p.sharedMemPerBlockOptin; return cudaSuccess;
    case cudaDevAttrClusterLaunch: *value = p.major >= 9; return cudaSuccess;
  }
  return Done(cudaErrorInvalidValue);
}
cudaError_t cudaDeviceGetPCIBusId(char* id, int bytes, int device) {
  PRL_ASK(device);
  snprintf(id, (size_t)bytes, "0000:%02X:00.0", device + 1);
  return cudaSuccess;
}
cudaError_t cudaMemGetInfo(size_t* free_bytes, size_t* total_bytes) {
  PRL_READY();
  Lock lock(runtime().mutex);
  *total_bytes = Memory();
  *free_bytes = Memory() - std::min(Memory(), runtime().used);
  return cudaSuccess;
}
cudaError_t cudaDriverGetVersion(int* version) {
  *version = CUDART_VERSION;
  return cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = CUDART_VERSION;
  return cudaSuccess;
}
cudaError_t cudaDeviceSynchronize() {
  PRL_READY();
  return WaitForAll();
}
// Unlike CUDA's it only mends the context: memory, streams and events stay.
cudaError_t cudaDeviceReset() {
  WaitForAll();
  Lock lock(runtime().mutex);
  runtime().broken = last_error = cudaSuccess;
  return cudaSuccess;
}

// ---- memory
cudaError_t cudaMalloc(void** pointer, size_t bytes) {
  PRL_READY();
  if (!pointer) return Done(cudaErrorInvalidValue);
  *pointer = nullptr;
  if (bytes == 0) return cudaSuccess;
  Runtime& r = runtime();
  Lock lock(r.mutex);
  if (bytes > Memory() || r.used > Memory() - bytes) return Done(cudaErrorMemoryAllocation);
  if (r.memory_file < 0) r.memory_file = memfd_create("prl-emulator", MFD_CLOEXEC);
  const size_t mapped = PageUp(bytes);
  if (r.memory_file < 0 || ftruncate(r.memory_file, r.memory_end + (off_t)mapped) != 0)
    return Done(cudaErrorMemoryAllocation);
  unsigned char* memory = Map(r.memory_file, mapped, r.memory_end);
  if (!memory) return Done(cudaErrorMemoryAllocation);
  memset(memory, 0xff, bytes);  // NaN in every format: what was never written shows
  ASAN_POISON_MEMORY_REGION(memory + bytes, mapped - bytes);
  r.allocations[memory] = {bytes, mapped, cudaMemoryTypeDevice, current_device, r.memory_end, true, false};
  r.memory_end += (off_t)mapped;
  r.used += bytes;
  *pointer = memory;
  return cudaSuccess;
}
cudaError_t cudaFree(void* pointer) {
  PRL_READY();
  if (!pointer) return cudaSuccess;
  {
    Lock lock(runtime().mutex);
    auto found = runtime().allocations.find(pointer);
    if (found == runtime().allocations.end() || found->second.type != cudaMemoryTypeDevice || !found->second.mine) {
      return Done(cudaErrorInvalidValue);
    }
  }
  if (const cudaError_t error = WaitForAll()) return error;
  Runtime& r = runtime();
  Lock lock(r.mutex);
  auto found = r.allocations.find(pointer);
  if (found == r.allocations.end()) return Done(cudaErrorInvalidValue);
  auto* memory = static_cast<unsigned char*>(pointer);
  memset(memory, 0xff, found->second.bytes);
  ASAN_POISON_MEMORY_REGION(memory, found->second.mapped);
  // Kept for a while, so that a use after the free reads NaN (the sanitizer: reports it) and not someone else's
  // numbers.
  r.freed.push_back({memory, found->second});
  r.freed_bytes += found->second.mapped;
  r.used -= found->second.bytes;
  r.allocations.erase(found);
  while (r.freed_bytes > kQuarantine) {
    const auto [old, allocation] = r.freed.front();
    r.freed.pop_front();
    r.freed_bytes -= allocation.mapped;
    Unmap(old, allocation);
    if (fallocate(r.memory_file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, allocation.offset,
                  (off_t)allocation.mapped) != 0)
      break;
  }
  return cudaSuccess;
}
cudaError_t cudaHostAlloc(void** pointer, size_t bytes, unsigned) {
  PRL_READY();
  *pointer = nullptr;
  if (bytes == 0) return cudaSuccess;
  Lock lock(runtime().mutex);
  const auto most = (size_t)Environment("PRL_EMULATOR_PINNED", INT64_MAX);
  if (bytes > most || runtime().pinned > most - bytes) return Done(cudaErrorMemoryAllocation);
  if (posix_memalign(pointer, 256, bytes) != 0) return Done(cudaErrorMemoryAllocation);
  memset(*pointer, 0xff, bytes);
  runtime().pinned += bytes;
  runtime().allocations[*pointer] = {bytes, bytes, cudaMemoryTypeHost, current_device, 0, true, false};
  return cudaSuccess;
}
cudaError_t cudaMallocHost(void** pointer, size_t bytes) { return cudaHostAlloc(pointer, bytes, 0); }
cudaError_t cudaFreeHost(void* pointer) {
  PRL_READY();
  if (!pointer) return cudaSuccess;
  Lock lock(runtime().mutex);
  auto found = runtime().allocations.find(pointer);
  if (found == runtime().allocations.end() || found->second.type != cudaMemoryTypeHost || !found->second.mine)
    return Done(cudaErrorInvalidValue);
  runtime().pinned -= found->second.bytes;
  runtime().allocations.erase(found);
  free(pointer);
  return cudaSuccess;
}
cudaError_t cudaHostRegister(void* pointer, size_t bytes, unsigned) {
  PRL_READY();
  Lock lock(runtime().mutex);
  if (!pointer || bytes == 0 || FindAllocation(pointer)) return Done(cudaErrorInvalidValue);
  runtime().allocations[pointer] = {bytes, bytes, cudaMemoryTypeHost, current_device, 0, false, false};
  return cudaSuccess;
}
cudaError_t cudaHostUnregister(void* pointer) {
  PRL_READY();
  Lock lock(runtime().mutex);
  auto found = runtime().allocations.find(pointer);
  if (found == runtime().allocations.end() || found->second.type != cudaMemoryTypeHost || found->second.mine)
    return Done(cudaErrorInvalidValue);
  runtime().allocations.erase(found);
  return cudaSuccess;
}
cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* pointer) {
  PRL_READY();
  Lock lock(runtime().mutex);
  const Allocation* allocation = FindAllocation(pointer);
  void* address = const_cast<void*>(pointer);
  if (!allocation) *attributes = {cudaMemoryTypeUnregistered, -2, nullptr, address};
  else
    *attributes = {allocation->type, allocation->device, address,
                   allocation->type == cudaMemoryTypeHost ? address : nullptr};
  return cudaSuccess;
}
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
  PRL_READY();
  if (bytes == 0) return cudaSuccess;
  if (!CopyIsLegal(to, from, bytes, kind)) return Done(cudaErrorInvalidValue);
  return Submit(stream, [=] { memmove(to, from, bytes); });
}
cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
  if (const cudaError_t error = cudaMemcpyAsync(to, from, bytes, kind, nullptr)) return error;
  return cudaStreamSynchronize(nullptr);
}
cudaError_t cudaMemsetAsync(void* to, int value, size_t bytes, cudaStream_t stream) {
  PRL_READY();
  if (bytes == 0) return cudaSuccess;
  {
    Lock lock(runtime().mutex);
    const Allocation* allocation = FindAllocation(to);
    if (!OnDevice(to, bytes) && !(allocation && OnHost(to, bytes))) return Done(cudaErrorInvalidValue);
  }
  return Submit(stream, [=] { memset(to, value, bytes); });
}
cudaError_t cudaMemset(void* to, int value, size_t bytes) { return cudaMemsetAsync(to, value, bytes, nullptr); }

// ---- streams and events
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags) {
  PRL_READY();
  Lock lock(runtime().mutex);
  *stream = NewStream(!(flags & cudaStreamNonBlocking));
  return cudaSuccess;
}
cudaError_t cudaStreamCreate(cudaStream_t* stream) { return cudaStreamCreateWithFlags(stream, cudaStreamDefault); }
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  PRL_READY();
  Lock lock(runtime().mutex);
  if (stream == nullptr || runtime().streams.erase(stream) == 0) return Done(cudaErrorInvalidResourceHandle);
  stream->ending = true;  // its thread finishes what is queued, then deletes it
  runtime().changed.notify_all();
  return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t handle) {
  PRL_READY();
  Lock lock(runtime().mutex);
  prl_emulator_stream* stream = Find(handle);
  if (!stream) return Done(cudaErrorInvalidResourceHandle);
  const uint64_t goal = stream->submitted;
  if (stream->completed < goal && RefusesToSpin()) return Done(cudaErrorNotPermitted);
  return WaitUntil(lock, [=] { return !runtime().streams.count(stream) || stream->completed >= goal; });
}
cudaError_t cudaStreamQuery(cudaStream_t handle) {
  PRL_READY();
  Lock lock(runtime().mutex);
  prl_emulator_stream* stream = Find(handle);
  if (!stream) return Done(cudaErrorInvalidResourceHandle);
  return Done(stream->completed >= stream->submitted ? cudaSuccess : cudaErrorNotReady);
}
cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t function, void* data) {
  PRL_READY();
  return Submit(stream, [=] {
    in_host_function = true;  // it must not call CUDA
    function(data);
    in_host_function = false;
  });
}
// For libraries that a real program loads at run time and that stand in for CUDA's own here (fake_cublas.cc).
extern "C" __attribute__((visibility("default"))) int prl_emulator_queue(void* stream, void (*function)(void*),
                                                                         void* data) {
  return cudaLaunchHostFunc(static_cast<cudaStream_t>(stream), function, data);
}
// Such a library may leave the thread with another device than it found.
extern "C" __attribute__((visibility("default"))) int prl_emulator_set_device(int device) {
  return cudaSetDevice(device);
}
extern "C" __attribute__((visibility("default"))) bool prl_emulator_on_device(const void* pointer, size_t bytes) {
  Lock lock(runtime().mutex);
  return OnDevice(pointer, bytes);
}
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags) {
  PRL_READY();
  Lock lock(runtime().mutex);
  *event = new prl_emulator_event;
  (*event)->timed = !(flags & cudaEventDisableTiming);
  (*event)->sleeps = flags & cudaEventBlockingSync;
  runtime().events.insert(*event);
  return cudaSuccess;
}
cudaError_t cudaEventCreate(cudaEvent_t* event) { return cudaEventCreateWithFlags(event, cudaEventDefault); }
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  PRL_READY();
  auto mark = std::make_shared<Mark>();
  {
    Lock lock(runtime().mutex);
    if (!runtime().events.count(event)) return Done(cudaErrorInvalidResourceHandle);
    event->mark = mark;
  }
  return Submit(
      stream,
      [mark] {
        Lock lock(runtime().mutex);
        mark->time = Clock::now();
        mark->done = true;
        runtime().changed.notify_all();
      },
      true);
}
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  PRL_READY();
  std::shared_ptr<Mark> mark;
  {
    Lock lock(runtime().mutex);
    if (!runtime().events.count(event)) return Done(cudaErrorInvalidResourceHandle);
    mark = event->mark;  // this recording, not a later one
  }
  if (!mark) return cudaSuccess;
  return Submit(
      stream,
      [mark] {
        Lock lock(runtime().mutex);
        while (!mark->done) runtime().changed.wait(lock);
      },
      true);
}
cudaError_t cudaEventQuery(cudaEvent_t event) {
  PRL_READY();
  Lock lock(runtime().mutex);
  if (!runtime().events.count(event)) return Done(cudaErrorInvalidResourceHandle);
  return Done(!event->mark || event->mark->done ? cudaSuccess : cudaErrorNotReady);
}
cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  PRL_READY();
  Lock lock(runtime().mutex);
  if (!runtime().events.count(event)) return Done(cudaErrorInvalidResourceHandle);
  const std::shared_ptr<Mark> mark = event->mark;
  if (mark && !mark->done && !event->sleeps && RefusesToSpin()) return Done(cudaErrorNotPermitted);
  return WaitUntil(lock, [&] { return !mark || mark->done; });
}
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t from, cudaEvent_t to) {
  PRL_READY();
  Lock lock(runtime().mutex);
  if (!runtime().events.count(from) || !runtime().events.count(to) || !from->timed || !to->timed || !from->mark ||
      !to->mark) {
    return Done(cudaErrorInvalidResourceHandle);
  }
  if (!from->mark->done || !to->mark->done) return Done(cudaErrorNotReady);
  *milliseconds = std::chrono::duration<float, std::milli>(to->mark->time - from->mark->time).count();
  return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  PRL_READY();
  Lock lock(runtime().mutex);
  if (runtime().events.erase(event) == 0) return Done(cudaErrorInvalidResourceHandle);
  delete event;
  return cudaSuccess;
}

// ---- memory of other processes
cudaError_t cudaIpcGetMemHandle(cudaIpcMemHandle_t* handle, void* pointer) {
  PRL_READY();
  Lock lock(runtime().mutex);
  const Allocation* allocation = FindAllocation(pointer);
  if (!allocation || allocation->type != cudaMemoryTypeDevice || allocation->opened) return Done(cudaErrorInvalidValue);
  IpcHandle ipc = {{}, getpid(), runtime().memory_file, allocation->device, allocation->offset, allocation->bytes};
  memcpy(ipc.magic, kIpcMagic, sizeof ipc.magic);
  *handle = {};
  memcpy(handle->reserved, &ipc, sizeof ipc);
  return cudaSuccess;
}
cudaError_t cudaIpcOpenMemHandle(void** pointer, cudaIpcMemHandle_t handle, unsigned flags) {
  PRL_READY();
  IpcHandle ipc;
  memcpy(&ipc, handle.reserved, sizeof ipc);
  if (memcmp(ipc.magic, kIpcMagic, sizeof ipc.magic) != 0 || flags != cudaIpcMemLazyEnablePeerAccess)
    return Done(cudaErrorInvalidValue);
  if (ipc.pid == getpid()) return Done(cudaErrorDeviceUninitialized);  // as CUDA has it: a process cannot open its own
  const std::string key(handle.reserved, sizeof handle.reserved);
  {
    Lock lock(runtime().mutex);
    if (runtime().opened_handles.count(key)) return Done(cudaErrorMapBufferObjectFailed);  // as some drivers have it
  }
  char path[64];
  snprintf(path, sizeof path, "/proc/%lld/fd/%d", (long long)ipc.pid, ipc.file);
  const int file = open(path, O_RDWR | O_CLOEXEC);
  if (file < 0) return Done(cudaErrorInvalidValue);
  const size_t mapped = PageUp(ipc.bytes);
  unsigned char* memory = Map(file, mapped, ipc.offset);
  close(file);
  if (!memory) return Done(cudaErrorInvalidValue);
  ASAN_POISON_MEMORY_REGION(memory + ipc.bytes, mapped - ipc.bytes);
  Lock lock(runtime().mutex);
  runtime().allocations[memory] = {ipc.bytes, mapped, cudaMemoryTypeDevice, ipc.device, 0, false, true};
  runtime().opened_handles.insert(key);
  runtime().handle_of[memory] = key;
  *pointer = memory;
  return cudaSuccess;
}
cudaError_t cudaIpcCloseMemHandle(void* pointer) {
  PRL_READY();
  Lock lock(runtime().mutex);
  auto found = runtime().allocations.find(pointer);
  if (found == runtime().allocations.end() || !found->second.opened) return Done(cudaErrorInvalidValue);
  Unmap(static_cast<unsigned char*>(pointer), found->second);
  runtime().allocations.erase(found);
  runtime().opened_handles.erase(runtime().handle_of[pointer]);
  runtime().handle_of.erase(pointer);
  return cudaSuccess;
}

// The one driver function there is: CUresult cuMemGetAddressRange(CUdeviceptr* base, size_t* bytes, CUdeviceptr
// pointer).
static int AddressRange(unsigned long long* base, size_t* bytes, unsigned long long pointer) {
  Lock lock(runtime().mutex);
  const void* start = nullptr;
  const Allocation* allocation = FindAllocation(reinterpret_cast<const void*>(pointer), &start);
  if (!allocation || allocation->type != cudaMemoryTypeDevice) return 1;  // CUDA_ERROR_INVALID_VALUE
  if (base) *base = reinterpret_cast<unsigned long long>(start);
  if (bytes) *bytes = allocation->bytes;
  return 0;
}
cudaError_t cudaGetDriverEntryPoint(const char* symbol, void** function, unsigned long long,
                                    cudaDriverEntryPointQueryResult* result) {
  PRL_READY();
  const bool found = !strcmp(symbol, "cuMemGetAddressRange");
  *function = found ? reinterpret_cast<void*>(&AddressRange) : nullptr;
  if (result) *result = found ? cudaDriverEntryPointSuccess : cudaDriverEntryPointSymbolNotFound;
  return found || result ? cudaSuccess : Done(cudaErrorSymbolNotFound);
}
cudaError_t cudaGetDriverEntryPointByVersion(const char* symbol, void** function, unsigned, unsigned long long flags,
                                             cudaDriverEntryPointQueryResult* result) {
  return cudaGetDriverEntryPoint(symbol, function, flags, result);
}

// ---- launches
namespace prl_emulator {

cudaError_t SetAttribute(const void* kernel, cudaFuncAttribute attribute, int value) {
  PRL_READY();
  struct Pause {  // after the lock: another thread may come between
    ~Pause() { std::this_thread::sleep_for(std::chrono::microseconds(Environment("PRL_EMULATOR_PAUSE", 0))); }
  } pause;
  Lock lock(runtime().mutex);
  FunctionLimits& limits = runtime().functions[{kernel, current_device}];
  switch (attribute) {
    case cudaFuncAttributeMaxDynamicSharedMemorySize:
      if (value < 0 || value > SharedOptin()) return Done(cudaErrorInvalidValue);
      limits.shared_bytes = value;
      return cudaSuccess;
    case cudaFuncAttributeNonPortableClusterSizeAllowed: limits.large_cluster = value != 0; return cudaSuccess;
    case cudaFuncAttributePreferredSharedMemoryCarveout: return cudaSuccess;
  }
  return Done(cudaErrorInvalidValue);
}

cudaError_t GetAttributes(cudaFuncAttributes* attributes, const void* kernel) {
  PRL_READY();
  Lock lock(runtime().mutex);
  *attributes = {};
  attributes->maxThreadsPerBlock = 1024;
  attributes->numRegs = 32;
  attributes->binaryVersion = Capability();
  attributes->ptxVersion = CodeTarget();
  attributes->maxDynamicSharedSizeBytes = runtime().functions[{kernel, current_device}].shared_bytes;
  return cudaSuccess;
}

cudaError_t MaxActiveBlocks(int* blocks, int threads, size_t shared_bytes) {
  PRL_READY();
  if (threads < 1 || threads > 1024) return Done(cudaErrorInvalidValue);
  // A block costs 1 KB more than it asks for
  const size_t by_shared = ((size_t)SharedOptin() + 1024) / (shared_bytes + 1024);
  *blocks = (int)std::min({(size_t)32, (size_t)(2048 / ((threads + 31) / 32 * 32)), by_shared});
  return cudaSuccess;
}

cudaError_t MaxActiveClusters(int* clusters, const cudaLaunchConfig_t& config) {
  int blocks = 0;
  const unsigned threads = config.blockDim.x * config.blockDim.y * config.blockDim.z;
  if (const cudaError_t error = MaxActiveBlocks(&blocks, (int)threads, config.dynamicSmemBytes)) return error;
  unsigned size = 1;
  for (unsigned i = 0; i < config.numAttrs; ++i) {
    if (config.attrs[i].id != cudaLaunchAttributeClusterDimension) continue;
    const auto& dim = config.attrs[i].val.clusterDim;
    size = dim.x * dim.y * dim.z;
  }
  *clusters = size > (unsigned)MostOfCluster() ? 0 : blocks * kMultiprocessors / (int)std::max(1u, size);
  return cudaSuccess;
}

static cudaError_t CheckShape(const cudaLaunchConfig_t& config, const FunctionLimits& limits, dim3* cluster) {
  const dim3 grid = config.gridDim, block = config.blockDim;
  const uint64_t threads = (uint64_t)block.x * block.y * block.z;
  if (threads == 0 || threads > 1024 || block.z > 64) return cudaErrorInvalidConfiguration;
  if (grid.x == 0 || grid.y == 0 || grid.z == 0 || grid.x > 0x7fffffffu || grid.y > 65535 || grid.z > 65535)
    return cudaErrorInvalidConfiguration;
  if (config.dynamicSmemBytes > (size_t)limits.shared_bytes) return cudaErrorInvalidValue;
  *cluster = dim3(1, 1, 1);
  for (unsigned i = 0; i < config.numAttrs; ++i) {
    const cudaLaunchAttribute& attribute = config.attrs[i];
    if (attribute.id == cudaLaunchAttributeCooperative && attribute.val.cooperative) return cudaErrorNotSupported;
    if (attribute.id != cudaLaunchAttributeClusterDimension) continue;
    const auto& dim = attribute.val.clusterDim;
    *cluster = dim3(dim.x, dim.y, dim.z);
    if (Capability() < 90) return cudaErrorNotSupported;
    const uint64_t blocks = (uint64_t)dim.x * dim.y * dim.z;
    if (blocks == 0 || blocks > (limits.large_cluster ? 16u : 8u) || blocks > (uint64_t)MostOfCluster())
      return cudaErrorInvalidClusterSize;
    if (grid.x % dim.x || grid.y % dim.y || grid.z % dim.z) return cudaErrorInvalidClusterSize;
  }
  return cudaSuccess;
}

// A pointer among a kernel's arguments that a GPU could not follow: pageable host memory, or device memory that was
// freed. Any eight bytes that look like an address are taken for one when something is mapped there; below 2^45 it is a
// pair of small numbers.
static bool PointsElsewhere(const std::vector<Piece>& arguments) {
  Runtime& r = runtime();
  Lock lock(r.mutex);
  for (size_t i = 0; i < arguments.size(); ++i) {
    for (size_t at = 0; at + 8 <= arguments[i].bytes; at += 8) {
      uintptr_t word = 0;
      memcpy(&word, static_cast<const char*>(arguments[i].data) + at, 8);
      const void* address = reinterpret_cast<const void*>(word);
      if (word < (1ull << 45) || word >= (1ull << 47) || FindAllocation(address)) continue;
      unsigned char resident = 0;
      if (mincore(reinterpret_cast<void*>(word & ~(PageUp(1) - 1)), 1, &resident) != 0) continue;
      const void* end = static_cast<const char*>(address) - 1;  // one past an allocation is a legal pointer
      if (FindAllocation(end)) continue;
      fprintf(stderr,
              "prl emulator: byte %zu of argument %zu of a kernel points to host memory or to freed memory: %p\n", at,
              i, address);
      return true;
    }
  }
  return false;
}

cudaError_t Launch(const cudaLaunchConfig_t& config, const void* kernel, std::function<void()> thread,
                   std::vector<Piece> arguments) {
  PRL_READY();
  if (PointsElsewhere(arguments)) return Done(cudaErrorInvalidValue);
  FunctionLimits limits;
  {
    Lock lock(runtime().mutex);
    auto found = runtime().functions.find({kernel, current_device});
    if (found != runtime().functions.end()) limits = found->second;
    const prl_emulator_stream* stream = Find(config.stream);
    if (stream && stream != runtime().null_stream && stream->device != current_device)
      return Done(cudaErrorInvalidResourceHandle);
  }
  if (Environment("PRL_EMULATOR_FAULT", 0)) thread = [] { Fail("PRL_EMULATOR_FAULT"); };
  LaunchShape shape = {config.gridDim, config.blockDim, dim3(), config.dynamicSmemBytes, CodeTarget()};
  if (const cudaError_t error = CheckShape(config, limits, &shape.cluster)) return Done(error);
  return Submit(config.stream, [shape, thread = std::move(thread)] {
    std::string reason;
    if (RunLaunch(shape, thread, &reason)) return;
    fprintf(stderr, "prl emulator: %s\n", reason.c_str());
    Lock lock(runtime().mutex);
    runtime().broken = cudaErrorLaunchFailure;
  });
}

}  // namespace prl_emulator
