// The sum of a number over the threads of a block, in a fixed order, known to every thread.
#pragma once

#include <cub/block/block_reduce.cuh>

namespace prl {

// Lies in shared memory. Every thread of the block calls it.
template <int kThreads>
struct BlockSum {
  using Reduce = cub::BlockReduce<double, kThreads>;
  typename Reduce::TempStorage storage;
  double total;

  __device__ double operator()(double x) {
    const double sum = Reduce(storage).Sum(x);
    if (threadIdx.x == 0) total = sum;
    __syncthreads();
    const double known = total;
    __syncthreads();  // before the next sum writes
    return known;
  }
};

}  // namespace prl
