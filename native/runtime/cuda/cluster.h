// Clusters of thread blocks (compute capability 9.0 on). Below, every block is a cluster of its own.
#pragma once

#include <cuda_runtime.h>

namespace prl {

// CUDA's own functions, those behind cooperative_groups: its header would be most of a file's compilation.
#if defined(PRL_CUDA_EMULATOR) || __CUDA_ARCH__ >= 900
#define PRL_CLUSTERS 1
#endif
__device__ inline unsigned ClusterSize() {
#if defined(PRL_CUDA_EMULATOR)
  return prl_emulator::Target() >= 90 ? __clusterSizeInBlocks() : 1;  // it plays code for any target
#elif PRL_CLUSTERS
  return __clusterSizeInBlocks();
#else
  return 1;
#endif
}
__device__ inline unsigned ClusterRank() {
#if defined(PRL_CUDA_EMULATOR)
  return prl_emulator::Target() >= 90 ? __clusterRelativeBlockRank() : 0;
#elif PRL_CLUSTERS
  return __clusterRelativeBlockRank();
#else
  return 0;
#endif
}
// The two halves of a barrier of all threads of the cluster; nothing where a row has one block.
__device__ inline void ClusterArrive() {
#if PRL_CLUSTERS
  if (ClusterSize() > 1) __cluster_barrier_arrive();
#endif
}
// An arrival that publishes no writes: for a barrier that says only that every block runs.
__device__ inline void ClusterArriveRelaxed() {
#if defined(PRL_CUDA_EMULATOR)
  ClusterArrive();
#elif PRL_CLUSTERS
  if (ClusterSize() > 1) __cluster_barrier_arrive_relaxed();
#endif
}
__device__ inline void ClusterWait() {
#if PRL_CLUSTERS
  if (ClusterSize() > 1) __cluster_barrier_wait();
#endif
}
// The same place in the shared memory of another block of the cluster.
template <typename T>
__device__ inline T* InBlock(T* here, unsigned rank) {
#if PRL_CLUSTERS
  return static_cast<T*>(__cluster_map_shared_rank(here, rank));
#else
  return here;
#endif
}

}  // namespace prl
