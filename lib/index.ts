// What is public, and nothing else. Three rooms can be imported alone: prl-node/kernels, prl-node/verify and
// prl-node/serve.
export { type DatasetEvaluation, evaluateDatasets } from './eval/datasets.js';
export { type EvaluationOptions, type EvaluationResult, evaluate, type ProblemRecord } from './eval/evaluate.js';
export { type Majority, majorityVote } from './eval/majority.js';
export * from './eval/metrics.js';
export type { EvaluationRecord, ResponseRecord } from './eval/record.js';
export type { EvaluationRates, EvaluationTable, SetFigures } from './eval/table.js';
export type { DatasetEvaluationOptions, EvaluationProgress, EvaluationSet, SamplingOptions } from './eval/types.js';
export {
  type Downloaded,
  type DownloadOptions,
  type DownloadProgress,
  downloadFiles,
  type HubOptions,
  resolveModel,
  resolveTokenizer,
} from './hub/resolve.js';
export * from './kernels/index.js';
export type { StepOffsets } from './methods/steps.js';
export type { ChatMessage, ChatOptions } from './policy/chat-template.js';
export { estimateMemory } from './policy/memory.js';
export { availableMemory } from './policy/memory-check.js';
export { Policy } from './policy/policy.js';
export type { TinkerOptions } from './policy/tinker/options.js';
export { TinkerPolicy } from './policy/tinker/policy.js';
export { characterTokenizer, type DecodeOptions, type EncodeOptions, Tokenizer } from './policy/tokenizer.js';
export type * from './policy/types.js';
export { type CollectOptions, type CollectProgress, collectPrmData } from './prm/collect.js';
export { type PrmData, type PrmProblem, type PrmResponse, type PrmSettings, readPrmData } from './prm/data.js';
export { type CalibrationBin, evaluatePrm, type PrmEvaluation, type PrmEvaluationOptions } from './prm/evaluate.js';
export { FunctionPrm, type FunctionPrmOptions, type ScoreSteps } from './prm/function-prm.js';
export { HttpPrm, type HttpPrmOptions } from './prm/http-prm.js';
export { loadProcessRewardModel } from './prm/load.js';
export type * from './prm/process-reward-model.js';
export { type EncodedSteps, type PrmUpdate, QuantilePrm, type QuantilePrmOptions } from './prm/quantile-prm.js';
export { scoreSteps } from './prm/score-steps.js';
export type { StepTexts } from './prm/step-texts.js';
export {
  PRM_TRAIN_OPTIONS,
  type PrmEpoch,
  type PrmTraining,
  type PrmTrainOptions,
  type TrainedPrm,
  trainQuantilePrm,
} from './prm/train.js';
export { promptSeeds, type RolloutEngine, type SyncOptions } from './rollout/engine.js';
export type { HttpEngineOptions } from './rollout/http-engine.js';
export * from './rollout/serve/index.js';
export { SglangEngine } from './rollout/sglang.js';
export { VllmEngine } from './rollout/vllm.js';
export { ArithmeticTask } from './tasks/arithmetic.js';
export type { Demonstration } from './tasks/data/demonstration.js';
export {
  type DemonstrationOptions,
  type Demonstrations,
  loadDemonstrations,
} from './tasks/data/demonstrations.js';
export type { AnswerFrom, DatasetProblem, FieldOptions } from './tasks/data/fields.js';
export {
  type Dataset,
  type DatasetOptions,
  type DatasetReport,
  describeReport,
  loadDataset,
} from './tasks/data/load.js';
export { PROMPT_PRESETS, type PromptOptions } from './tasks/data/prompt.js';
export { type DatasetTask, type DatasetTaskOptions, datasetTask } from './tasks/dataset.js';
export type * from './tasks/task.js';
export * from './tasks/verify/index.js';
export { type ResolvedTrainerOptions, TRAINER_OPTIONS, type TrainerOptions } from './train/options.js';
export { RunFolder } from './train/run-folder.js';
export type { TrainerSetup } from './train/setup.js';
export { SFT_OPTIONS } from './train/sft-options.js';
export {
  type SftEvaluation,
  type SftMetrics,
  type SftOptions,
  type SftSetup,
  SftTrainer,
} from './train/sft-trainer.js';
export type { StepMetrics } from './train/step-metrics.js';
export { Trainer, type TrainingStep } from './train/trainer.js';
export { type WarmStartOptions, type WarmStartPhase, type WarmStartStep, warmStart } from './train/warm-start.js';
