// CONTRACT of embedding:   out[r] = table[ids[r]]           d_table[ids[r]] += d_out[r]
//
//   table, d_table [vocab, width] float32; ids [rows] int32 in [0, vocab), checked before; out, d_out [rows, width]
// The backward pass takes the rows sorted by id (row numbers in `order`, those of id v from starts[v] to starts[v +
// 1]), so that a row of d_table adds its tokens in order on one thread: the same bits for any number of threads.
// The forward pass runs on the calling thread, the backward pass on the pool.
#pragma once

#include <cstdint>

#include "runtime/cpu/isa.h"

namespace prl {

PRL_CPU_ENTRY(void, EmbeddingCpu, (int64_t rows, int64_t width, const float* table, const int32_t* ids, float* out),
              (rows, width, table, ids, out))

// order [rows] and starts [vocab + 1] are scratch that SortById fills.
PRL_CPU_ENTRY(void, SortByIdCpu, (int64_t rows, int64_t vocab, const int32_t* ids, int32_t* order, int32_t* starts),
              (rows, vocab, ids, order, starts))
PRL_CPU_ENTRY(void, EmbeddingBackwardCpu,
              (int64_t vocab, int64_t width, const int32_t* order, const int32_t* starts, const float* d_out,
               float* d_table),
              (vocab, width, order, starts, d_out, d_table))

}  // namespace prl
