// Does the emulator do what a GPU does? Each check prints one line; the exit status says whether all passed.
#include <cooperative_groups.h>
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <cub/block/block_reduce.cuh>
#include <cub/block/block_scan.cuh>
#include <cub/warp/warp_reduce.cuh>
#include <string>
#include <thread>
#include <vector>

namespace cg = cooperative_groups;

static int failures = 0;
static std::string program;

#define EXPECT(condition)                              \
  do {                                                 \
    if (!(condition)) {                                \
      printf("  line %d: %s\n", __LINE__, #condition); \
      ++failures;                                      \
    }                                                  \
  } while (0)
#define OK(call) EXPECT((call) == cudaSuccess)

template <typename T>
struct Device {  // an array on the device
  T* at = nullptr;
  size_t n;
  explicit Device(size_t count) : n(count) { OK(cudaMalloc(&at, n * sizeof(T))); }
  explicit Device(const std::vector<T>& values) : Device(values.size()) {
    OK(cudaMemcpy(at, values.data(), n * sizeof(T), cudaMemcpyHostToDevice));
  }
  ~Device() { cudaFree(at); }
  std::vector<T> Read() const {
    std::vector<T> values(n);
    OK(cudaMemcpy(values.data(), at, n * sizeof(T), cudaMemcpyDeviceToHost));
    return values;
  }
};

struct Shape {
  dim3 grid, block;
  size_t shared = 0;
  unsigned cluster = 1;
  cudaStream_t stream = nullptr;
};
template <typename... P, typename... A>
static cudaError_t Run(const Shape& shape, void (*kernel)(P...), A... arguments) {
  cudaLaunchAttribute attribute;
  attribute.id = cudaLaunchAttributeClusterDimension;
  attribute.val.clusterDim.x = shape.cluster;
  attribute.val.clusterDim.y = attribute.val.clusterDim.z = 1;
  cudaLaunchConfig_t config = {};
  config.gridDim = shape.grid;
  config.blockDim = shape.block;
  config.dynamicSmemBytes = shape.shared;
  config.stream = shape.stream;
  config.attrs = &attribute;
  config.numAttrs = shape.cluster > 1 ? 1 : 0;
  return cudaLaunchKernelEx(&config, kernel, arguments...);
}

// ---- indices
__global__ void Indices(uint3* out) {
  const unsigned block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
  const unsigned thread = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
  out[block * blockDim.x * blockDim.y * blockDim.z + thread] =
      make_uint3(block, thread, cg::this_thread_block().thread_rank());
}
static void TestIndices() {
  Device<uint3> out(2 * 3 * 2 * 4 * 3 * 2);
  OK(Run({dim3(2, 3, 2), dim3(4, 3, 2)}, Indices, out.at));
  const auto got = out.Read();
  for (unsigned i = 0; i < got.size(); ++i) EXPECT(got[i].x == i / 24 && got[i].y == i % 24 && got[i].z == i % 24);
}

// ---- block collectives
struct Widest {
  __device__ int2 operator()(int2 a, int2 b) const { return a.y >= b.y ? a : b; }
};
__global__ void Collectives(const float* in, float* sums, int* scans, int2* widest, float* warps) {
  constexpr int kN = 192;
  using Reduce = cub::BlockReduce<float, kN>;
  using Scan = cub::BlockScan<int, kN>;
  using Widen = cub::BlockReduce<int2, kN>;
  using Warp = cub::WarpReduce<float>;
  __shared__ typename Reduce::TempStorage reduce;
  __shared__ typename Scan::TempStorage scan;
  __shared__ typename Widen::TempStorage widen;
  __shared__ typename Warp::TempStorage warp[kN / 32];
  const int i = threadIdx.x, at = blockIdx.x * kN + i;
  sums[at] = Reduce(reduce).Sum(in[at]);
  int inclusive, exclusive, total, total2;
  Scan(scan).InclusiveSum(i + 1, inclusive, total);
  __syncthreads();
  Scan(scan).ExclusiveScan(
      i + 1, exclusive, 1000, [](int a, int b) { return a > b ? a : b; }, total2);
  scans[4 * at] = inclusive;
  scans[4 * at + 1] = exclusive;
  scans[4 * at + 2] = total;
  scans[4 * at + 3] = total2;
  const int2 best = Widen(widen).Reduce(make_int2(i, (i * 37) % kN), Widest());
  if (i == 0) widest[blockIdx.x] = best;
  warps[at] = Warp(warp[i / 32]).Sum(in[at]);
}
static void TestCollectives() {
  const int blocks = 5, n = 192;
  std::vector<float> in(blocks * n);
  for (size_t i = 0; i < in.size(); ++i) in[i] = (float)(i % 97) - 48.0f;  // sums of small integers are exact
  Device<float> device(in), sums(in.size()), warps(in.size());
  Device<int> scans(4 * in.size());
  Device<int2> widest(blocks);
  OK(Run({dim3(blocks), dim3(n)}, Collectives, (const float*)device.at, sums.at, scans.at, widest.at, warps.at));
  const auto s = sums.Read(), w = warps.Read();
  const auto c = scans.Read();
  const auto best = widest.Read();
  for (int b = 0; b < blocks; ++b) {
    float sum = 0.0f, warp = 0.0f;
    for (int i = 0; i < n; ++i) {
      sum += in[b * n + i];
      warp = (i % 32 ? warp : 0.0f) + in[b * n + i];
      const int at = b * n + i;
      EXPECT(c[4 * at] == (i + 1) * (i + 2) / 2 && c[4 * at + 2] == n * (n + 1) / 2);
      EXPECT(c[4 * at + 1] == 1000 && c[4 * at + 3] == n);
      if (i % 32 == 31) EXPECT(w[at - 31] == warp);
      if (i % 32) EXPECT(std::isnan(w[at]));
      if (i) EXPECT(std::isnan(s[at]));  // valid in thread 0 only
    }
    EXPECT(s[b * n] == sum);
    EXPECT(best[b].y == n - 1 && (best[b].x * 37) % n == n - 1);
  }
}

// ---- running prefix over tiles
struct Carry {
  int sum;
  __device__ int operator()(int total) {
    const int before = sum;
    sum += total;
    return threadIdx.x == 0 ? before : -12345;  // only thread 0's answer counts
  }
};
__global__ void Tiles(const int* in, int* out, int n) {
  using Scan = cub::BlockScan<int, 64>;
  __shared__ typename Scan::TempStorage storage;
  Carry carry{0};
  for (int at = threadIdx.x; at < n; at += 64) {
    Scan(storage).InclusiveScan(
        in[at], out[at], [](int a, int b) { return a + b; }, carry);
    __syncthreads();
  }
}
static void TestTiles() {
  std::vector<int> in(256);
  for (int i = 0; i < 256; ++i) in[i] = i * i % 11;
  Device<int> device(in), out(256);
  OK(Run({1, 64}, Tiles, (const int*)device.at, out.at, 256));
  const auto got = out.Read();
  int sum = 0;
  for (int i = 0; i < 256; ++i) EXPECT(got[i] == (sum += in[i]));
}

// ---- warps
__global__ void Warps(long long* out, unsigned* votes) {
  const int i = threadIdx.x, lane = i % 32;
  long long* mine = out + 8 * i;
  mine[0] = __shfl_sync(~0u, 1000ll * i, 5);
  mine[1] = __shfl_xor_sync(~0u, i, 3);
  mine[2] = __shfl_up_sync(~0u, i, 2);
  mine[3] = __shfl_down_sync(~0u, i, 4, 8);
  mine[4] = (long long)__shfl_sync(~0u, (double)i, lane + 1, 4);
  const unsigned half = lane < 16 ? 0xffffu : 0xffff0000u;
  mine[5] = __shfl_xor_sync(half, i, 1);
  mine[6] = lane < 16 ? __shfl_sync(0xffffu, i, 20) : 0;  // from a lane that takes no part
  mine[7] = __all_sync(~0u, i < 48) * 10 + __any_sync(~0u, i == 40);
  votes[i] = __ballot_sync(~0u, lane % 3 == 0);
  __syncwarp();
}
static void TestWarps() {
  Device<long long> out(8 * 80);
  Device<unsigned> votes(80);
  OK(Run({1, 64}, Warps, out.at, votes.at));
  const auto got = out.Read();
  const auto vote = votes.Read();
  for (int i = 0; i < 64; ++i) {
    const int lane = i % 32, first = i - lane;
    const long long* mine = got.data() + 8 * i;
    EXPECT(mine[0] == 1000ll * (first + 5) && mine[1] == (i ^ 3) && mine[2] == (lane < 2 ? i : i - 2));
    EXPECT(mine[3] == (lane % 8 < 4 ? i + 4 : i) && mine[4] == (i & ~3) + (lane + 1) % 4 && mine[5] == (i ^ 1));
    EXPECT(mine[6] == (lane < 16 ? -1 : 0) && mine[7] == (i < 32 ? 10 : 1) && vote[i] == 0x49249249u);
  }
}
__global__ void EarlyExit(int* out) {
  if (threadIdx.x % 2) return;  // barriers and warp operations then count the rest
  const int n = __syncthreads_count(threadIdx.x % 4 == 0), all = __syncthreads_and(1),
            any = __syncthreads_or(threadIdx.x == 6);
  out[threadIdx.x] = n * 100 + all * 10 + any;
  out[threadIdx.x + 1] = __shfl_xor_sync(0x55555555u, (int)threadIdx.x, 2);
}
static void TestEarlyExit() {
  Device<int> out(64);
  OK(Run({1, 64}, EarlyExit, out.at));
  const auto got = out.Read();
  for (int i = 0; i < 64; i += 2) EXPECT(got[i] == 1611 && got[i + 1] == (i ^ 2));
}

// ---- clusters
__global__ void Exchange(int* out, int n) {
  int* mine = static_cast<int*>(prl_emulator_shared());
  cg::cluster_group cluster = cg::this_cluster();
  const int rank = (int)cluster.block_rank(), blocks = (int)cluster.num_blocks();
  // The blocks come to the barrier at different times.
  for (int k = 0; k < 3 * rank; ++k) __syncthreads();
  for (int i = threadIdx.x; i < n; i += blockDim.x) mine[i] = (int)blockIdx.x * 1000 + i;
  cluster.sync();
  int sum = 0;
  for (int b = 0; b < blocks; ++b) sum += cluster.map_shared_rank(mine, b)[threadIdx.x];
  out[blockIdx.x * blockDim.x + threadIdx.x] = sum * 10 + rank;
  auto token = cluster.barrier_arrive();
  cluster.barrier_wait(std::move(token));
}
static void TestClusters() {
  Device<int> out(12 * 96);
  OK(Run({12, 96, 4 * 200, 4}, Exchange, out.at, 200));
  const auto got = out.Read();
  for (int b = 0; b < 12; ++b) {
    for (int i = 0; i < 96; ++i) EXPECT(got[b * 96 + i] == ((4 * (b / 4 * 4) + 6) * 1000 + 4 * i) * 10 + b % 4);
  }
  EXPECT(Run({12, 96, 800, 8}, Exchange, out.at, 200) == cudaErrorInvalidClusterSize);  // 12 is no multiple of 8
  EXPECT(Run({16, 96, 800, 16}, Exchange, out.at, 200) == cudaErrorInvalidClusterSize);
  OK(cudaFuncSetAttribute(Exchange, cudaFuncAttributeNonPortableClusterSizeAllowed, 1));
  Device<int> large(16 * 96);
  OK(Run({16, 96, 800, 16}, Exchange, large.at, 200));
  EXPECT(large.Read()[0] == (120 * 1000) * 10);
  setenv("PRL_EMULATOR_CAPABILITY", "8.0", 1);
  EXPECT(Run({12, 96, 800, 4}, Exchange, out.at, 200) == cudaErrorNotSupported);
  unsetenv("PRL_EMULATOR_CAPABILITY");
  EXPECT(cudaGetLastError() == cudaErrorNotSupported && cudaGetLastError() == cudaSuccess);
}
// A block that reads another's shared memory after that block has ended reads poison.
__global__ void TooLate(float* out) {
  float* mine = static_cast<float*>(prl_emulator_shared());
  cg::cluster_group cluster = cg::this_cluster();
  mine[threadIdx.x] = 1.0f;
  cluster.sync();
  if (cluster.block_rank() == 1) return;
  cluster.sync();
  out[threadIdx.x] = cluster.map_shared_rank(mine, 1)[threadIdx.x];
}
static void TestTooLate() {
  Device<float> out(32);
  OK(Run({2, 32, 128, 2}, TooLate, out.at));
  for (float x : out.Read()) EXPECT(std::isnan(x));
}

// ---- shared memory
__global__ void FillShared(int* out, int n) {
  int* mine = static_cast<int*>(prl_emulator_shared());
  if (threadIdx.x == 0) out[blockIdx.x] = mine[n - 1];  // poison: nobody wrote it
  __syncthreads();
  for (int i = threadIdx.x; i < n; i += blockDim.x) mine[i] = i;
  __syncthreads();
  if (threadIdx.x == 0 && mine[n - 1] != n - 1) out[blockIdx.x] = 7;
}
static void TestSharedLimits() {
  Device<int> out(2);
  const size_t much = 200 * 1024;
  EXPECT(Run({2, 64, much}, FillShared, out.at, (int)much / 4) == cudaErrorInvalidValue);
  EXPECT(cudaGetLastError() == cudaErrorInvalidValue);
  EXPECT(cudaFuncSetAttribute(FillShared, cudaFuncAttributeMaxDynamicSharedMemorySize, 228 * 1024) ==
         cudaErrorInvalidValue);
  cudaGetLastError();
  OK(cudaFuncSetAttribute(FillShared, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)much));
  OK(Run({2, 64, much}, FillShared, out.at, (int)much / 4));
  EXPECT(out.Read() == std::vector<int>({-1, -1}));
  EXPECT(Run({0, 64}, FillShared, out.at, 1) == cudaErrorInvalidConfiguration);
  EXPECT(Run({1, 1025}, FillShared, out.at, 1) == cudaErrorInvalidConfiguration);
  cudaGetLastError();
}

// ---- memory
static void TestMemory() {
  Device<float> fresh(100);
  for (float x : fresh.Read()) EXPECT(std::isnan(x));
  size_t free_bytes = 0, total = 0, free_after = 0;
  setenv("PRL_EMULATOR_MEMORY", "1000000", 1);
  OK(cudaMemGetInfo(&free_bytes, &total));
  EXPECT(total == 1000000);
  void* memory = nullptr;
  EXPECT(cudaMalloc(&memory, free_bytes + 1) == cudaErrorMemoryAllocation && memory == nullptr);
  EXPECT(cudaGetLastError() == cudaErrorMemoryAllocation);
  OK(cudaMalloc(&memory, free_bytes));
  OK(cudaMemGetInfo(&free_after, &total));
  EXPECT(free_after == 0);
  OK(cudaFree(memory));
  unsetenv("PRL_EMULATOR_MEMORY");
  EXPECT(cudaFree(memory) == cudaErrorInvalidValue);  // twice
  cudaGetLastError();

  std::vector<float> host(200);
  // Past its end
  EXPECT(cudaMemcpy(host.data(), fresh.at, 101 * sizeof(float), cudaMemcpyDeviceToHost) == cudaErrorInvalidValue);
  EXPECT(cudaMemcpy(host.data(), fresh.at, 4, cudaMemcpyHostToDevice) == cudaErrorInvalidValue);
  cudaGetLastError();
  void* pinned = nullptr;
  OK(cudaMallocHost(&pinned, 64));
  cudaPointerAttributes a;
  OK(cudaPointerGetAttributes(&a, fresh.at + 50));
  EXPECT(a.type == cudaMemoryTypeDevice && a.device == 0);
  OK(cudaPointerGetAttributes(&a, pinned));
  EXPECT(a.type == cudaMemoryTypeHost);
  OK(cudaPointerGetAttributes(&a, host.data()));
  EXPECT(a.type == cudaMemoryTypeUnregistered);
  OK(cudaFreeHost(pinned));
  int (*range)(unsigned long long*, size_t*, unsigned long long) = nullptr;
  OK(cudaGetDriverEntryPoint("cuMemGetAddressRange", reinterpret_cast<void**>(&range), cudaEnableDefault));
  unsigned long long base = 0;
  size_t bytes = 0;
  EXPECT(range && range(&base, &bytes, (unsigned long long)(uintptr_t)(fresh.at + 3)) == 0);
  EXPECT(base == (unsigned long long)(uintptr_t)fresh.at && bytes == 400);
}

// ---- streams and events
__global__ void AddOne(int* x, int n) {
  const int i = (int)(blockIdx.x * blockDim.x + threadIdx.x);
  if (i < n) x[i] += 1;
}
static void TestAsync() {
  setenv("PRL_EMULATOR_DELAY", "50000", 1);  // so that a busy machine does not run the queue before the host goes on
  cudaStream_t a, b;
  OK(cudaStreamCreateWithFlags(&a, cudaStreamNonBlocking));
  OK(cudaStreamCreateWithFlags(&b, cudaStreamNonBlocking));
  Device<int> x(std::vector<int>(1000, 0));
  int* staging = nullptr;
  OK(cudaMallocHost(&staging, 4000));
  for (int i = 0; i < 1000; ++i) staging[i] = 1;
  // The copy is queued, not made: what the host writes into the buffer now is what arrives.
  OK(cudaMemcpyAsync(x.at, staging, 4000, cudaMemcpyHostToDevice, a));
  EXPECT(cudaStreamQuery(a) == cudaErrorNotReady);
  cudaGetLastError();
  for (int i = 0; i < 1000; ++i) staging[i] = 2;
  OK(cudaStreamSynchronize(a));
  EXPECT(x.Read()[999] == 2);

  // In order within a stream; across streams by an event; the event's recording at the time of the wait counts.
  cudaEvent_t start, done;
  OK(cudaEventCreate(&start));
  OK(cudaEventCreate(&done));
  EXPECT(cudaEventQuery(done) == cudaSuccess);  // never recorded
  OK(cudaEventRecord(start, a));
  for (int i = 0; i < 50; ++i) OK(Run({4, 256, 0, 1, a}, AddOne, x.at, 1000));
  OK(cudaEventRecord(done, a));
  OK(cudaStreamWaitEvent(b, done, 0));
  OK(Run({4, 256, 0, 1, b}, AddOne, x.at, 1000));
  OK(cudaMemcpyAsync(staging, x.at, 4000, cudaMemcpyDeviceToHost, b));
  OK(cudaStreamSynchronize(b));
  EXPECT(staging[0] == 53 && staging[999] == 53);
  OK(cudaEventSynchronize(done));
  float ms = -1.0f;
  OK(cudaEventElapsedTime(&ms, start, done));
  EXPECT(ms > 0.0f);

  // A host function runs in the stream's order, and must not call CUDA.
  struct Seen {
    std::atomic<int> calls{0};
    cudaError_t error = cudaSuccess;
  } seen;
  OK(cudaLaunchHostFunc(
      a,
      [](void* data) {
        auto* s = static_cast<Seen*>(data);
        void* p;
        s->error = cudaMalloc(&p, 4);
        ++s->calls;
      },
      &seen));
  // Without a wait it runs too, later
  while (seen.calls == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  EXPECT(seen.error == cudaErrorNotPermitted);

  // The null stream waits for blocking streams, not for the others.
  cudaStream_t blocking;
  OK(cudaStreamCreate(&blocking));
  for (int i = 0; i < 20; ++i) OK(Run({4, 256, 0, 1, blocking}, AddOne, x.at, 1000));
  OK(Run({4, 256}, AddOne, x.at, 1000));
  EXPECT(x.Read()[500] == 74);

  OK(cudaStreamDestroy(blocking));
  EXPECT(cudaStreamSynchronize(blocking) == cudaErrorInvalidResourceHandle);
  OK(cudaEventDestroy(done));
  EXPECT(cudaEventRecord(done, a) == cudaErrorInvalidResourceHandle);
  cudaGetLastError();
  OK(cudaEventDestroy(start));
  OK(cudaStreamDestroy(a));
  OK(cudaStreamDestroy(b));
  OK(cudaFreeHost(staging));
  unsetenv("PRL_EMULATOR_DELAY");
}

// ---- mistakes that must show
__global__ void Divergent(int* out) {
  if (threadIdx.x < 32) __syncwarp(~0u);
  if (threadIdx.x < 40) __syncthreads();
  else __syncthreads();
  out[threadIdx.x] = 1;
}
__global__ void HalfWarp() {
  if (threadIdx.x < 16) __shfl_sync(~0u, 1, 0);
  else __syncthreads();
}
__global__ void WrongSize(float* out) {
  using Reduce = cub::BlockReduce<float, 128>;
  __shared__ typename Reduce::TempStorage storage;
  out[threadIdx.x] = Reduce(storage).Sum(1.0f);
}
__global__ void Misaligned(const char* p, int* out) { *out = __ldg(reinterpret_cast<const int*>(p + 1)); }
struct Nested {
  int n;
  const int* from;
  int* to;
};
__global__ void CopyNested(Nested arguments) { arguments.to[threadIdx.x] = arguments.from[threadIdx.x]; }
template <typename... P, typename... A>
static void ExpectFailure(const Shape& shape, void (*kernel)(P...), A... arguments) {
  OK(Run(shape, kernel, arguments...));
  EXPECT(cudaDeviceSynchronize() == cudaErrorLaunchFailure);
  void* p = nullptr;
  EXPECT(cudaMalloc(&p, 4) == cudaErrorLaunchFailure);  // the context is broken, as on a GPU
  OK(cudaDeviceReset());
}
static void TestMistakes() {
  Device<int> out(64);
  Device<float> sums(64);
  ExpectFailure({1, 64}, Divergent, out.at);
  ExpectFailure({1, 32}, HalfWarp);
  ExpectFailure({1, 64}, WrongSize, sums.at);
  ExpectFailure({1, 1}, Misaligned, (const char*)out.at, out.at);
  // A host pointer, or one to freed memory, is found before the kernel runs.
  std::vector<int> host(1 << 16);
  EXPECT(Run({1, 32}, CopyNested, Nested{1, host.data(), out.at}) == cudaErrorInvalidValue);
  int* freed = nullptr;
  OK(cudaMalloc(&freed, 400));
  OK(Run({1, 32}, CopyNested, Nested{1, freed, out.at + 32}));
  OK(cudaFree(freed));
  EXPECT(Run({1, 32}, CopyNested, Nested{1, freed, out.at}) == cudaErrorInvalidValue);
  cudaGetLastError();
  OK(Run({1, 64}, AddOne, out.at, 64));  // and all is well again
  OK(cudaDeviceSynchronize());
}

// Each of these forgets a barrier; some order must show it.
__global__ void RacyNeighbour(int* out) {
  int* mine = static_cast<int*>(prl_emulator_shared());
  mine[threadIdx.x] = (int)threadIdx.x;
  out[threadIdx.x] = mine[(threadIdx.x + 1) % blockDim.x];
}
__global__ void RacyStorage(int* out) {
  using Scan = cub::BlockScan<int, 64>;
  __shared__ typename Scan::TempStorage storage;
  int first, second;
  Scan(storage).InclusiveSum(1, first);
  Scan(storage).InclusiveSum(100, second);
  out[threadIdx.x] = first;
}
__global__ void RacyBlocks(int* out) {
  if (threadIdx.x == 0) out[0] = (int)blockIdx.x;
}
template <typename K>
static bool OrderShows(K kernel, unsigned blocks) {
  std::vector<std::vector<int>> results;
  for (const char* order : {"forward", "reverse", "shuffle:1", "shuffle:2"}) {
    setenv("PRL_EMULATOR_ORDER", order, 1);
    Device<int> out(64);
    OK(Run({blocks, 64, 256}, kernel, out.at));
    results.push_back(out.Read());
  }
  for (const auto& r : results) {
    if (r != results[0]) return true;
  }
  return false;
}
static void TestRaces() {
  const char* order = getenv("PRL_EMULATOR_ORDER");
  const std::string before = order ? order : "";
  EXPECT(OrderShows(RacyNeighbour, 1));
  EXPECT(OrderShows(RacyStorage, 1));
  EXPECT(OrderShows(RacyBlocks, 8));
  setenv("PRL_EMULATOR_ORDER", before.c_str(), 1);
}

// ---- 16-bit formats: every bit pattern there and back, ties to even
static void TestFormats() {
  for (unsigned bits = 0; bits < 65536; ++bits) {
    const __nv_bfloat16 b = __ushort_as_bfloat16((unsigned short)bits);
    const float x = __bfloat162float(b);
    if (x == x) EXPECT(__bfloat16_as_ushort(__float2bfloat16_rn(x)) == bits);
    const float h = __half2float(__ushort_as_half((unsigned short)bits));
    if (h == h) EXPECT(__half_as_ushort(__float2half_rn(h)) == bits);
  }
  EXPECT(__bfloat16_as_ushort(__float2bfloat16_rn(1.00390625f)) == 0x3f80 &&
         __bfloat16_as_ushort(__float2bfloat16_rn(1.01171875f)) == 0x3f82);
  EXPECT(__half2float(__float2half_rn(65520.0f)) == INFINITY && std::isnan(__half2float(__float2half_rn(NAN))));
  EXPECT(fabsf(__expf(1.0f) - 2.7182817f) < 1e-6f && __expf(-INFINITY) == 0.0f && __fdividef(1.0f, 1e38f) == 0.0f);
}

// ---- atomics, from two streams at once
__global__ void Atomics(unsigned* sum, int* least, unsigned long long* most) {
  atomicAdd(sum, 1u);
  atomicMin(least, -(int)(blockIdx.x * blockDim.x + threadIdx.x));
  atomicMax(most, 1ull << 40 | threadIdx.x);
}
static void TestAtomics() {
  cudaStream_t streams[2];
  Device<unsigned> sum(std::vector<unsigned>{0});
  Device<int> least(std::vector<int>{0});
  Device<unsigned long long> most(std::vector<unsigned long long>{0});
  for (auto& s : streams) OK(cudaStreamCreateWithFlags(&s, cudaStreamNonBlocking));
  for (int i = 0; i < 10; ++i) OK(Run({20, 128, 0, 1, streams[i % 2]}, Atomics, sum.at, least.at, most.at));
  OK(cudaDeviceSynchronize());
  EXPECT(sum.Read()[0] == 25600 && least.Read()[0] == -2559 && most.Read()[0] == (1ull << 40 | 127));
  for (auto& s : streams) OK(cudaStreamDestroy(s));
}

static void TestDevices() {
  int count = 0;
  setenv("PRL_EMULATOR_DEVICES", "0", 1);
  EXPECT(cudaGetDeviceCount(&count) == cudaErrorNoDevice && count == 0);
  EXPECT(!strcmp(cudaGetErrorName(cudaGetLastError()), "cudaErrorNoDevice"));
  setenv("PRL_EMULATOR_DEVICES", "2", 1);
  OK(cudaGetDeviceCount(&count));
  EXPECT(count == 2);
  OK(cudaSetDevice(1));
  Device<int> second(4);
  cudaPointerAttributes a;
  OK(cudaPointerGetAttributes(&a, second.at));
  EXPECT(a.device == 1);
  OK(cudaSetDevice(0));
  unsetenv("PRL_EMULATOR_DEVICES");
  EXPECT(cudaSetDevice(1) == cudaErrorInvalidDevice);
  cudaGetLastError();
  cudaDeviceProp p;
  OK(cudaGetDeviceProperties(&p, 0));
  int optin = 0;
  OK(cudaDeviceGetAttribute(&optin, cudaDevAttrMaxSharedMemoryPerBlockOptin, 0));
  EXPECT(p.major == 9 && p.minor == 0 && (size_t)optin == p.sharedMemPerBlockOptin && optin == 227 * 1024);
}

// ---- two processes
static std::string Hex(const cudaIpcMemHandle_t& handle) {
  std::string text;
  char two[3];
  for (unsigned char c : handle.reserved) {
    snprintf(two, sizeof two, "%02x", c);
    text += two;
  }
  return text;
}
static int Child(const char* hex) {
  cudaIpcMemHandle_t handle;
  for (int i = 0; i < 64; ++i) {
    unsigned byte = 0;
    sscanf(hex + 2 * i, "%2x", &byte);
    handle.reserved[i] = (char)byte;
  }
  int* shared = nullptr;
  OK(cudaIpcOpenMemHandle(reinterpret_cast<void**>(&shared), handle, cudaIpcMemLazyEnablePeerAccess));
  if (failures) return 1;
  void* again = nullptr;
  EXPECT(cudaIpcOpenMemHandle(&again, handle, cudaIpcMemLazyEnablePeerAccess) == cudaErrorMapBufferObjectFailed);
  std::vector<int> got(1000);
  OK(cudaMemcpy(got.data(), shared, 4000, cudaMemcpyDeviceToHost));
  for (int i = 0; i < 1000; ++i) EXPECT(got[i] == i);
  OK(Run({4, 256}, AddOne, shared, 1000));
  OK(cudaDeviceSynchronize());
  OK(cudaIpcCloseMemHandle(shared));
  return failures ? 1 : 0;
}
static void TestIpc() {
  std::vector<int> values(1000);
  for (int i = 0; i < 1000; ++i) values[i] = i;
  Device<int> other(10), x(values);
  cudaIpcMemHandle_t handle;
  OK(cudaIpcGetMemHandle(&handle, x.at));
  void* own = nullptr;
  EXPECT(cudaIpcOpenMemHandle(&own, handle, cudaIpcMemLazyEnablePeerAccess) == cudaErrorDeviceUninitialized);
  cudaGetLastError();
  fflush(stdout);
  EXPECT(system(("'" + program + "' ipc-child " + Hex(handle)).c_str()) == 0);
  const auto got = x.Read();
  for (int i = 0; i < 1000; ++i) EXPECT(got[i] == i + 1);
}

// ---- asynchronous copies: one 16-byte piece of a group each, `kAhead` groups ahead, as the softmax rows have it
template <int kAhead, int kLater>
__global__ void Pipeline(const float4* in, float4* out, int groups) {
  float4* mine = static_cast<float4*>(prl_emulator_shared());
  const int n = (int)blockDim.x, i = (int)threadIdx.x;
  const auto ask = [&](int group) {
    if (group < groups) __pipeline_memcpy_async(mine + group * n + i, in + group * n + i, 16);
    __pipeline_commit();
  };
  for (int group = 0; group < kAhead; ++group) ask(group);
  for (int group = 0; group < groups; ++group) {
    ask(group + kAhead);
    __pipeline_wait_prior(kLater);
    out[group * n + i] = mine[group * n + i];
  }
}
__global__ void NeverCommitted(const float4* in, float4* out) {
  float4* mine = static_cast<float4*>(prl_emulator_shared());
  __pipeline_memcpy_async(mine + threadIdx.x, in + threadIdx.x, 16);
  __pipeline_wait_prior(0);  // waits for groups, and this is in none
  out[threadIdx.x] = mine[threadIdx.x];
}
__global__ void NoBarrier(const float4* in, float4* out) {
  float4* mine = static_cast<float4*>(prl_emulator_shared());
  __pipeline_memcpy_async(mine + threadIdx.x, in + threadIdx.x, 16);
  __pipeline_commit();
  if (threadIdx.x != 3) __pipeline_wait_prior(0);
  __syncthreads();  // known to all: what its thread has waited for, and no more
  out[threadIdx.x] = mine[(threadIdx.x + 1) % blockDim.x];
}
__global__ void MisalignedCopy(const char* in) { __pipeline_memcpy_async(prl_emulator_shared(), in + 4, 16); }
template <typename K, typename... A>
static std::vector<bool> Arrived(int pieces, K kernel, A... arguments) {
  std::vector<float4> values(pieces);
  for (int i = 0; i < pieces; ++i) values[i] = {i + 0.25f, i + 0.5f, i + 0.75f, i + 1.0f};
  Device<float4> in(values), out(pieces);
  OK(Run({1, 64, 16 * (size_t)pieces}, kernel, (const float4*)in.at, out.at, arguments...));
  const auto got = out.Read();
  std::vector<bool> arrived;
  for (int i = 0; i < pieces; ++i) {
    EXPECT(std::isnan(got[i].x) == std::isnan(got[i].w));
    arrived.push_back(!std::isnan(got[i].x));
  }
  return arrived;
}
static int Count(const std::vector<bool>& all) { return (int)std::count(all.begin(), all.end(), true); }
static void TestCopies() {
  EXPECT(Count(Arrived(7 * 64, Pipeline<3, 3>, 7)) == 7 * 64);
  EXPECT(Count(Arrived(7 * 64, Pipeline<3, 0>, 7)) == 7 * 64);  // too careful, and right
  EXPECT(Count(Arrived(2 * 64, Pipeline<3, 3>, 2)) == 2 * 64);  // fewer groups than are asked for ahead
  EXPECT(Count(Arrived(7 * 64, Pipeline<3, 4>, 7)) == 0);       // one later group too many: every read is too early
  EXPECT(Count(Arrived(64, NeverCommitted)) == 0);
  const auto neighbours = Arrived(64, NoBarrier);
  EXPECT(Count(neighbours) == 63 && !neighbours[2]);
  Device<float4> in(4);
  OK(Run({1, 1, 64}, MisalignedCopy, (const char*)in.at));
  EXPECT(cudaDeviceSynchronize() == cudaErrorLaunchFailure);
  OK(cudaDeviceReset());
}

// ---- what a machine can be like
static void TestTarget() {
  cudaFuncAttributes a;
  setenv("PRL_EMULATOR_PTX", "8.0", 1);
  OK(cudaFuncGetAttributes(&a, AddOne));
  EXPECT(a.ptxVersion == 80 && a.binaryVersion == 90);
  unsetenv("PRL_EMULATOR_PTX");
  OK(cudaFuncGetAttributes(&a, AddOne));
  EXPECT(a.ptxVersion == 90);
}
static void TestSmallPart() {
  const auto most = [](unsigned cluster) {
    cudaLaunchAttribute attribute;
    attribute.id = cudaLaunchAttributeClusterDimension;
    attribute.val.clusterDim = {cluster, 1, 1};
    cudaLaunchConfig_t config = {};
    config.gridDim = cluster;
    config.blockDim = 64;
    config.attrs = &attribute;
    config.numAttrs = 1;
    int clusters = -1;
    OK(cudaOccupancyMaxActiveClusters(&clusters, AddOne, &config));
    return clusters;
  };
  Device<int> x(512);
  EXPECT(most(8) > 0);
  setenv("PRL_EMULATOR_CLUSTER", "4", 1);
  EXPECT(most(8) == 0 && most(4) > 0);
  EXPECT(Run({8, 64, 0, 8}, AddOne, x.at, 512) == cudaErrorInvalidClusterSize);
  OK(Run({8, 64, 0, 4}, AddOne, x.at, 512));
  unsetenv("PRL_EMULATOR_CLUSTER");
  cudaGetLastError();
}
static void TestGpusOfOthers() {
  setenv("PRL_EMULATOR_DEVICES", "4", 1);
  setenv("PRL_EMULATOR_EXCLUSIVE", "2", 1);
  setenv("PRL_EMULATOR_BROKEN", "3", 1);
  cudaDeviceProp p;
  OK(cudaGetDeviceProperties(&p, 2));  // needs no context
  EXPECT(cudaSetDevice(2) == cudaErrorDevicesUnavailable);
  EXPECT(cudaGetDeviceProperties(&p, 3) == cudaErrorUnknown && cudaSetDevice(3) == cudaErrorUnknown);
  OK(cudaSetDevice(1));
  cudaStream_t stream;
  OK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  OK(cudaSetDevice(0));
  Device<int> x(64);
  EXPECT(Run({1, 64, 0, 1, stream}, AddOne, x.at, 64) == cudaErrorInvalidResourceHandle);  // of another device
  OK(cudaStreamDestroy(stream));
  unsetenv("PRL_EMULATOR_EXCLUSIVE");
  OK(cudaSetDevice(2));  // the other process has ended
  OK(cudaSetDevice(0));
  for (const char* name : {"PRL_EMULATOR_DEVICES", "PRL_EMULATOR_BROKEN"}) unsetenv(name);
  cudaGetLastError();
}
static void TestSpinning() {
  setenv("PRL_EMULATOR_SPIN", "refuse", 1);
  setenv("PRL_EMULATOR_DELAY", "50000", 1);
  int* x = nullptr;
  OK(cudaMalloc(&x, 4000));
  cudaEvent_t spins, sleeps;
  OK(cudaEventCreateWithFlags(&spins, cudaEventDisableTiming));
  OK(cudaEventCreateWithFlags(&sleeps, cudaEventDisableTiming | cudaEventBlockingSync));
  OK(Run({4, 256}, AddOne, x, 1000));
  OK(cudaEventRecord(spins));
  OK(cudaEventRecord(sleeps));
  EXPECT(cudaEventSynchronize(spins) == cudaErrorNotPermitted);
  EXPECT(cudaStreamSynchronize(nullptr) == cudaErrorNotPermitted);
  OK(cudaEventSynchronize(sleeps));
  OK(cudaEventSynchronize(spins));  // nothing is left to wait for
  for (const char* name : {"PRL_EMULATOR_SPIN", "PRL_EMULATOR_DELAY"}) unsetenv(name);
  OK(cudaEventDestroy(spins));
  OK(cudaEventDestroy(sleeps));
  OK(cudaFree(x));
  cudaGetLastError();
}
// Between one thread's wish and its launch another thread's wish comes through.
static void TestPause() {
  setenv("PRL_EMULATOR_PAUSE", "20000", 1);
  const auto failed = [](int bytes) {
    Device<int> out(2);
    int n = 0;
    for (int i = 0; i < 5; ++i) {
      OK(cudaFuncSetAttribute(FillShared, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes));
      n += Run({2, 64, (size_t)bytes}, FillShared, out.at, bytes / 4) != cudaSuccess;
    }
    cudaGetLastError();
    return n;
  };
  int large = 0;
  std::thread other([&] { large = failed(100 * 1024); });
  EXPECT(failed(60 * 1024) == 0);
  other.join();
  EXPECT(large > 0);
  unsetenv("PRL_EMULATOR_PAUSE");
}
static void TestPinned() {
  setenv("PRL_EMULATOR_PINNED", "10000", 1);
  void *a = nullptr, *b = nullptr;
  OK(cudaMallocHost(&a, 6000));
  EXPECT(cudaMallocHost(&b, 6000) == cudaErrorMemoryAllocation);
  OK(cudaFreeHost(a));
  OK(cudaMallocHost(&b, 6000));
  OK(cudaFreeHost(b));
  unsetenv("PRL_EMULATOR_PINNED");
  cudaGetLastError();
}

// ---- how fast: 64 blocks of 512 threads with 40 barriers each, and rows of single-thread work without one
__global__ void ManyBarriers(int* out) {
  int* mine = static_cast<int*>(prl_emulator_shared());
  mine[threadIdx.x] = (int)threadIdx.x;
  for (int i = 0; i < 20; ++i) {
    __syncthreads();
    const int next = mine[(threadIdx.x + 1) % blockDim.x];
    __syncthreads();
    mine[threadIdx.x] = next;
  }
  out[blockIdx.x * blockDim.x + threadIdx.x] = mine[threadIdx.x];
}
static void TestSpeed() {
  using Clock = std::chrono::steady_clock;
  Device<int> out(64 * 512);
  auto start = Clock::now();
  OK(Run({64, 512, 2048}, ManyBarriers, out.at));
  OK(cudaDeviceSynchronize());
  const double barrier = std::chrono::duration<double>(Clock::now() - start).count() / (64 * 512 * 40);
  EXPECT(out.Read()[0] == 20);
  start = Clock::now();
  OK(Run({64, 512}, AddOne, out.at, 64 * 512));
  OK(cudaDeviceSynchronize());
  const double plain = std::chrono::duration<double>(Clock::now() - start).count() / (64 * 512);
  printf("  a barrier costs a thread %.0f ns, a thread without one %.0f ns\n", barrier * 1e9, plain * 1e9);
}

int main(int argc, char** argv) {
  program = argv[0];
  if (argc == 3 && !strcmp(argv[1], "ipc-child")) return Child(argv[2]);
  const struct {
    const char* name;
    void (*run)();
  } checks[] = {{"indices", TestIndices},      {"collectives", TestCollectives},
                {"tiles", TestTiles},          {"warps", TestWarps},
                {"early exit", TestEarlyExit}, {"clusters", TestClusters},
                {"too late", TestTooLate},     {"shared limits", TestSharedLimits},
                {"memory", TestMemory},        {"async", TestAsync},
                {"mistakes", TestMistakes},    {"races", TestRaces},
                {"formats", TestFormats},      {"atomics", TestAtomics},
                {"devices", TestDevices},      {"ipc", TestIpc},
                {"copies", TestCopies},        {"target", TestTarget},
                {"small part", TestSmallPart}, {"GPUs of others", TestGpusOfOthers},
                {"spinning", TestSpinning},    {"pause", TestPause},
                {"pinned", TestPinned},        {"speed", TestSpeed}};
  int bad = 0;
  for (const auto& check : checks) {
    failures = 0;
    check.run();
    printf("%s %s\n", failures ? "FAILED" : "ok", check.name);
    bad += failures != 0;
  }
  printf("%d checks, %d failed\n", (int)(sizeof checks / sizeof *checks), bad);
  return bad != 0;
}
