#include "model/micro_batch.h"

#include <algorithm>

namespace prl {

std::vector<int32_t> Sequences::ScoredOffsets() const {
  std::vector<int32_t> offsets(1, 0);
  for (int64_t s = 0; s < count(); ++s)
    offsets.push_back(offsets.back() + (cu_seqlens[s + 1] - cu_seqlens[s] - start[s]));
  return offsets;
}

int64_t MicroBatch::Fill(const Sequences& all, const std::vector<int32_t>& cu_scored, int64_t first) {
  for (std::vector<int32_t>* list : {&targets, &query_of_target, &query_of_token, &ids, &query_begin, &prefix})
    list->clear();
  for (std::vector<int32_t>* list : {&cu_targets, &cu_seqlens, &cu_queries}) list->assign(1, 0);
  int64_t s = first, shared = -1;  // the sequence whose prompt went in last
  int32_t root = -1;               // that prompt's place in the packed batch
  for (; s < all.count(); ++s) {
    const int32_t *begin = all.ids.data() + all.cu_seqlens[s], *end = all.ids.data() + all.cu_seqlens[s + 1],
                  *start = begin + all.start[s];
    if (start < end) {
      const bool shares = shared >= 0 && all.start[shared] == all.start[s] &&
                          std::equal(begin, start, all.ids.data() + all.cu_seqlens[shared]);
      const int32_t* fed_end = whole ? end : end - 1;
      const int64_t fed = (shares ? 0 : start - begin) + (fed_end - start);
      if (s > first && static_cast<int64_t>(ids.size()) + fed > all.micro_batch_tokens) break;
      if (!shares) {
        root = static_cast<int32_t>(prefix.size());
        Push(begin, start, start - begin - 1, -1);
        shared = s;
      }
      query_of_target.push_back(cu_queries[static_cast<size_t>(root) + 1] - 1);
      for (int64_t i = 0; i < end - 1 - start; ++i)
        query_of_target.push_back(cu_queries.back() + static_cast<int32_t>(i));
      for (int64_t i = 0; whole && i < end - start; ++i)
        query_of_token.push_back(cu_queries.back() + static_cast<int32_t>(i));
      if (fed_end > start) Push(start, fed_end, 0, root);
      targets.insert(targets.end(), start, end);
    }
    cu_targets.push_back(static_cast<int32_t>(targets.size()));
  }
  first_sequence = first;
  sequences = s - first;
  first_scored = cu_scored[first];
  scored = static_cast<int64_t>(targets.size());
  return s;
}

PackedBatch MicroBatch::packed() const {
  return {static_cast<int64_t>(ids.size()),
          static_cast<int64_t>(prefix.size()),
          cu_queries.back(),
          ids.data(),
          cu_seqlens.data(),
          query_begin.data(),
          cu_queries.data(),
          prefix.data()};
}

std::vector<int32_t> MicroBatch::QueriesOfSteps(const std::vector<int32_t>& ends, int64_t* first) const {
  const auto begin = std::lower_bound(ends.begin(), ends.end(), first_scored);
  const auto end = std::lower_bound(begin, ends.end(), first_scored + scored);
  *first = begin - ends.begin();
  std::vector<int32_t> queries;
  for (auto i = begin; i != end; ++i) queries.push_back(query_of_token[static_cast<size_t>(*i - first_scored)]);
  return queries;
}

void MicroBatch::Push(const int32_t* begin, const int32_t* end, int64_t first_query, int32_t before) {
  ids.insert(ids.end(), begin, end);
  cu_seqlens.push_back(static_cast<int32_t>(ids.size()));
  query_begin.push_back(static_cast<int32_t>(first_query));
  cu_queries.push_back(cu_queries.back() + static_cast<int32_t>(end - begin - first_query));
  prefix.push_back(before);
}

}  // namespace prl
