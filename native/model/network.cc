#include "model/network.h"

#include "model/cpu/network.h"

namespace prl {

Status MakeNetwork(const ModelConfig& config, DType dtype, std::unique_ptr<Network>* network) {
  *network = std::make_unique<CpuNetwork>(config, dtype);
  return Ok();
}

MemoryNeeds NetworkMemory(const ModelConfig& config, const MemorySettings& settings) {
  return CpuNetwork::Memory(config, settings);
}

}  // namespace prl
