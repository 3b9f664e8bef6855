// Philox4x32-10, a counter-based generator (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011): 128
// random bits from a 64-bit key and a 128-bit counter, without state. What a value is for (which parameter, which token
// of which request) makes its counter; so results depend on no order, batch or thread.
#pragma once

#include <cstdint>

#include "runtime/hd.h"

namespace prl {

struct Philox4 {
  uint32_t word[4];
};

PRL_HD Philox4 Philox(uint64_t key, uint64_t counter_high, uint64_t counter_low) {
  uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
  Philox4 c = {
      {(uint32_t)counter_low, (uint32_t)(counter_low >> 32), (uint32_t)counter_high, (uint32_t)(counter_high >> 32)}};
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = 0xD2511F53ull * c.word[0], p1 = 0xCD9E8D57ull * c.word[2];
    c = {{(uint32_t)(p1 >> 32) ^ c.word[1] ^ k0, (uint32_t)p1, (uint32_t)(p0 >> 32) ^ c.word[3] ^ k1, (uint32_t)p0}};
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return c;
}

// 23 bits in (0, 1): never 0 nor 1, exact in float32.
PRL_HD float UniformOf(uint32_t word) { return ((float)(word >> 9) + 0.5f) * 0x1p-23f; }

}  // namespace prl
