#include "model/layers/sampling/sampling.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

namespace prl {

Candidates KeepLikeliest(const SampleArgs& args, float max, double sum) {
  thread_local std::vector<int32_t> token;
  thread_local std::vector<double> weight;
  const float* logits = args.logits;
  const auto likelier = [logits](int32_t a, int32_t b) {
    return logits[a] != logits[b] ? logits[a] > logits[b] : a < b;
  };
  const auto weight_of = [&](int32_t j) {
    return std::exp((static_cast<double>(logits[j]) - max) / args.params.temperature);
  };

  token.resize(static_cast<size_t>(args.vocab));
  std::iota(token.begin(), token.end(), 0);
  const int64_t most = args.params.top_k > 0 ? std::min<int64_t>(args.params.top_k, args.vocab) : args.vocab;
  // Without top_k the mass is known; the likeliest few usually hold it, so sort as many as it takes.
  double total = 0.0, mass = sum;
  int64_t sorted = 0, count = 0;
  weight.clear();
  if (args.params.top_k > 0) {
    std::partial_sort(token.begin(), token.begin() + most, token.end(), likelier);
    sorted = most;
    mass = 0.0;
    for (int64_t i = 0; i < most; ++i) mass += weight_of(token[static_cast<size_t>(i)]);
  }
  for (; count < most; ++count) {
    if (count == sorted) {
      sorted = std::min<int64_t>(most, sorted == 0 ? 256 : sorted * 8);
      std::partial_sort(token.begin() + count, token.begin() + sorted, token.end(), likelier);
    }
    if (count > 0 && args.params.top_p < 1.0f && total >= static_cast<double>(args.params.top_p) * mass) break;
    weight.push_back(weight_of(token[static_cast<size_t>(count)]));
    total += weight.back();
  }
  return {token.data(), weight.data(), count, total};
}

}  // namespace prl
