#pragma once

#include "device.h"

namespace cooperative_groups {

struct thread_block {
  static void sync(PRL_EMULATOR_WHERE) { prl_emulator::SyncThreads(0, {function, file, line}); }
  static unsigned thread_rank() { return prl_emulator::current->rank; }
  static unsigned num_threads() { return prl_emulator::current->block->threads; }
  static unsigned size() { return num_threads(); }
  static dim3 group_index() { return blockIdx; }
  static dim3 thread_index() { return threadIdx; }
  static dim3 dim_threads() { return blockDim; }
};
inline thread_block this_thread_block() { return {}; }

struct cluster_group {
  struct arrival_token {};
  static void sync(PRL_EMULATOR_WHERE) {
    prl_emulator::ClusterArrive();
    prl_emulator::ClusterWait({function, file, line});
  }
  static arrival_token barrier_arrive() {
    prl_emulator::ClusterArrive();
    return {};
  }
  static void barrier_wait(PRL_EMULATOR_WHERE) { prl_emulator::ClusterWait({function, file, line}); }
  static void barrier_wait(arrival_token&&, PRL_EMULATOR_WHERE) { prl_emulator::ClusterWait({function, file, line}); }
  template <typename T>
  static T* map_shared_rank(T* shared, int rank) {
    return static_cast<T*>(prl_emulator::MapSharedRank(shared, (unsigned)rank));
  }
  static unsigned query_shared_rank(const void* shared) { return (unsigned)prl_emulator::RankOfShared(shared); }
  static unsigned block_rank() { return prl_emulator::current->block->rank; }
  static unsigned num_blocks() { return prl_emulator::ClusterBlocks(); }
  static unsigned thread_rank() {
    return block_rank() * prl_emulator::current->block->threads + prl_emulator::current->rank;
  }
  static unsigned num_threads() { return num_blocks() * prl_emulator::current->block->threads; }
  static dim3 dim_blocks() { return prl_emulator::current->block->cluster; }
};
inline cluster_group this_cluster() { return {}; }

}  // namespace cooperative_groups
