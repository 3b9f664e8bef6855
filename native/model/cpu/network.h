// The network on the CPU: every stage is done when it returns.
#pragma once

#include "model/cpu/arenas.h"
#include "model/cpu/buffers.h"
#include "model/cpu/decoder.h"
#include "model/cpu/transformer.h"
#include "model/network.h"

namespace prl {

class CpuNetwork final : public Network {
 public:
  CpuNetwork(const ModelConfig& model_config, DType storage) : Network(model_config, storage) {}
  static MemoryNeeds Memory(const ModelConfig& config, const MemorySettings& settings);

  Status Wait() override { return Ok(); }

  bool Has(Arena arena) const override { return arenas_.Has(arena); }
  Status Read(Arena arena, int64_t first, int64_t n, DType type, void* out) override;
  Status Write(Arena arena, int64_t first, int64_t n, const float* values) override;
  Status Load(Arena arena, int64_t first, int64_t n, int fd, int64_t offset, DType type) override;
  void DropMoments() override { arenas_.DropMoments(); }
  Status Clone(std::unique_ptr<Network>* copy) override;

  Status Forward(const PackedBatch& batch, Keep keep) override;
  Status Score(const ScoredTokens& tokens, float* logprob, float* entropy, int32_t* top1) override;
  Status States(int64_t n, const int32_t* queries, float* states) override;
  Status Logits(float* logits) override;
  Status Loss(const ScoredTokens& tokens, const LossBatch& batch, const LossParams& params, LossSums* sums,
              int32_t* top1) override;
  Status SetStateGradients(int64_t n, const int32_t* queries, const float* d_states) override;
  Status Backward() override;

  Status ClearGradients() override;
  Status SumSquares(double* sum) override;
  Status Step(const AdamWStep& matrices, const AdamWStep& vectors, bool* applied) override;

  Status BeginDecode(const DecodePlan& plan, int64_t* slots) override;
  Status Prefill(const PackedBatch& prompts) override;
  Status Start(int64_t n, const SlotStart* starts, SampledToken* tokens) override;
  Status Decode(int64_t n, const int64_t* slots, SampledToken* tokens) override;
  void EndDecode() override { decoder_.End(); }

 private:
  LinearLogprobArgs HeadOf(const ScoredTokens& tokens, int64_t sequences, float* logprob, float* entropy);

  CpuArenas arenas_{layout, dtype};
  Transformer transformer_{config, layout};
  CpuDecoder decoder_{config, layout, transformer_};
  HeadBuffers head_;
  PackedBatch batch_{};            // of the last Forward
  const float* hidden_ = nullptr;  // its hidden states; in head_.rows the gradient of those, for Backward
  Keep keep_ = Keep::kNothing;
};

}  // namespace prl
