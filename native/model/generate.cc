#include "model/generate.h"

#include <algorithm>

namespace prl {
namespace {

class Generation {
 public:
  Generation(Network& network, const GenerateRequest& request)
      : network_(network), request_(request), prompts_(static_cast<int64_t>(request.cu_prompts.size()) - 1),
        out_(static_cast<size_t>(prompts_ * request.n)) {}
  ~Generation() {
    (void)network_.Wait();
    network_.EndDecode();
  }

  Status Run(const std::atomic<bool>& cancel, const std::function<void(const GenerateProgress&)>& progress);
  std::vector<GeneratedCompletion>& completions() { return out_; }

 private:
  int64_t total() const { return static_cast<int64_t>(out_.size()); }
  int32_t PromptBegin(int64_t prompt) const { return request_.cu_prompts[static_cast<size_t>(prompt)]; }
  DecodePlan Plan() const;
  Status Prefill(int64_t prompt);
  Status Start();
  Status Decode();
  Status Accept(int64_t slot, SampledToken sampled);

  Network& network_;
  const GenerateRequest& request_;
  const int64_t prompts_;
  std::vector<GeneratedCompletion> out_;
  std::vector<int64_t> completion_of_;  // per slot; -1: free
  // Prompts whose keys, values and next-token logits are at hand: completions start in order, so one window is enough.
  int64_t window_begin_ = 0, window_end_ = 0;
  int64_t next_ = 0, finished_ = 0, tokens_ = 0;
  std::vector<SampledToken> sampled_;
};

DecodePlan Generation::Plan() const {
  int64_t longest = 0;
  for (int64_t p = 0; p < prompts_; ++p) longest = std::max<int64_t>(longest, PromptBegin(p + 1) - PromptBegin(p));
  return {longest, request_.max_new_tokens, total(), request_.max_batch, request_.most_batch, request_.sampling};
}

Status Generation::Prefill(int64_t prompt) {
  const int64_t vocab = network_.config.vocab;
  const int32_t first = PromptBegin(prompt);
  int64_t end = prompt + 1;
  while (end < prompts_ && end - prompt < kWindowPrompts && (end - prompt + 1) * vocab <= kWindowLogits &&
         PromptBegin(end + 1) - first <= kWindowTokens) {
    ++end;
  }
  std::vector<int32_t> cu{0}, last, queries{0};
  for (int64_t p = prompt; p < end; ++p) {
    cu.push_back(PromptBegin(p + 1) - first);
    last.push_back(PromptBegin(p + 1) - PromptBegin(p) - 1);
    queries.push_back(static_cast<int32_t>(p - prompt + 1));
  }
  window_begin_ = prompt;
  window_end_ = end;
  const int64_t n = end - prompt;
  return network_.Prefill(
      {cu.back(), n, n, request_.ids.data() + first, cu.data(), last.data(), queries.data(), nullptr});
}

// Takes a sampled token into a slot's completion; frees the slot when that was its last.
Status Generation::Accept(int64_t slot, SampledToken sampled) {
  int64_t& index = completion_of_[static_cast<size_t>(slot)];
  GeneratedCompletion& completion = out_[static_cast<size_t>(index)];
  if (sampled.token < 0) {
    return Error(Code::kNonFinite,
                 "the policy's logits hold a NaN or +inf (prompt %lld, token %lld): its weights have diverged",
                 (long long)(index / request_.n), (long long)completion.tokens.size());
  }
  completion.tokens.push_back(sampled.token);
  completion.logprobs.push_back(sampled.logprob);
  completion.stopped = std::find(request_.stop.begin(), request_.stop.end(), sampled.token) != request_.stop.end();
  if (completion.stopped || static_cast<int64_t>(completion.tokens.size()) == request_.max_new_tokens) {
    index = -1;
    ++finished_;
  }
  return Ok();
}

// Fills free slots with the next completions of the window.
Status Generation::Start() {
  std::vector<SlotStart> starts;
  for (size_t s = 0; s < completion_of_.size() && next_ < total() && next_ / request_.n < window_end_; ++s) {
    if (completion_of_[s] >= 0) continue;
    const int64_t prompt = next_ / request_.n, sample = next_ % request_.n;
    const uint64_t stream = request_.streams[static_cast<size_t>(prompt)] << 32 | static_cast<uint64_t>(sample);
    starts.push_back(
        {static_cast<int64_t>(s), prompt - window_begin_, request_.keys[static_cast<size_t>(prompt)], stream});
    completion_of_[s] = next_++;
  }
  const int64_t n = static_cast<int64_t>(starts.size());
  sampled_.resize(starts.size());
  PRL_RETURN_IF_ERROR(network_.Start(n, starts.data(), sampled_.data()));
  PRL_RETURN_IF_ERROR(network_.Wait());
  for (size_t i = 0; i < starts.size(); ++i) PRL_RETURN_IF_ERROR(Accept(starts[i].slot, sampled_[i]));
  tokens_ += n;
  return Ok();
}

// The next token of every slot that has a completion.
Status Generation::Decode() {
  std::vector<int64_t> active;
  for (size_t s = 0; s < completion_of_.size(); ++s) {
    if (completion_of_[s] >= 0) active.push_back(static_cast<int64_t>(s));
  }
  const int64_t n = static_cast<int64_t>(active.size());
  sampled_.resize(active.size());
  PRL_RETURN_IF_ERROR(network_.Decode(n, active.data(), sampled_.data()));
  PRL_RETURN_IF_ERROR(network_.Wait());
  for (size_t i = 0; i < active.size(); ++i) PRL_RETURN_IF_ERROR(Accept(active[i], sampled_[i]));
  tokens_ += n;
  return Ok();
}

Status Generation::Run(const std::atomic<bool>& cancel, const std::function<void(const GenerateProgress&)>& progress) {
  int64_t slots = 0;
  PRL_RETURN_IF_ERROR(network_.BeginDecode(Plan(), &slots));
  completion_of_.assign(static_cast<size_t>(slots), -1);
  while (finished_ < total()) {
    if (cancel.load(std::memory_order_relaxed)) return Error(Code::kAborted, "generation was aborted");
    for (int64_t before = -1; before != next_;) {  // until no slot is free, or nothing waits
      before = next_;
      if (next_ < total() && next_ / request_.n >= window_end_) PRL_RETURN_IF_ERROR(Prefill(next_ / request_.n));
      PRL_RETURN_IF_ERROR(Start());
    }
    PRL_RETURN_IF_ERROR(Decode());
    progress({finished_, total(), tokens_});
  }
  return Ok();
}

}  // namespace

Status Generate(Network& network, const GenerateRequest& request, const std::atomic<bool>& cancel,
                const std::function<void(const GenerateProgress&)>& progress,
                std::vector<GeneratedCompletion>* completions) {
  Generation generation(network, request);
  if (!generation.completions().empty()) PRL_RETURN_IF_ERROR(generation.Run(cancel, progress));
  completions->swap(generation.completions());
  return Ok();
}

}  // namespace prl
