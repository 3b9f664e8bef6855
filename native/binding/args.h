// Reading JavaScript arguments. Everything JavaScript sends is checked here, again, whatever lib/ has checked: nothing
// that arrives may reach memory it should not.
//
// Reading a field can run JavaScript (a getter, a proxy), which can detach a buffer that was checked, rewrite offsets
// that were checked, or start a task on a policy that was idle. So the constructor of Args reads every field of every
// argument, once; after it no JavaScript runs until the call returns or fails. That is why memory of a typed array can
// be borrowed for a synchronous call. What a background task needs is copied.
#pragma once

#include <napi.h>

#include <string>
#include <vector>

#include "binding/errors.h"
#include "runtime/dtype.h"

namespace prl {

// A tensor argument: { dtype, shape, device, data or memory }, as lib/kernels/tensor.ts makes them. `data` points to
// the device's memory.
struct TensorArg {
  DType dtype;
  Device device = Device::kCpu;
  std::vector<int64_t> shape;
  int64_t elements = 0;
  void* data = nullptr;
  bool present() const { return !shape.empty(); }
  bool on_gpu() const { return device == Device::kCuda; }

  const float* f32() const { return static_cast<const float*>(data); }
  float* f32() { return static_cast<float*>(data); }
  const int32_t* i32() const { return static_cast<const int32_t*>(data); }
};

// The memory of a typed array on an ArrayBuffer that is not detached; throws when `value` is something else.
struct TypedArrayMemory {
  napi_typedarray_type type;
  size_t length, bytes;
  void* data;
};
TypedArrayMemory TypedArrayMemoryOf(Napi::Env env, Napi::Value value, const char* name);

// The fields of the one options object that a function of the addon takes. `name` appears in the messages.
class Args {
 public:
  // Tensors on the GPU are refused unless `devices` says that this function has a CUDA skeleton.
  enum Devices { kCpuOnly, kCpuOrGpu };
  explicit Args(const Napi::CallbackInfo& info, Devices devices = kCpuOnly);

  Napi::Env env() const { return env_; }
  bool Has(const char* name) const;  // neither absent nor undefined nor null
  // What came, unchecked; undefined for an absent field.
  Napi::Value Value(const char* name) const;

  // A present tensor of one of the dtypes in `allowed` (empty: float32, bfloat16, float16).
  TensorArg Tensor(const char* name, std::vector<DType> allowed = {}) const;
  // The same, or an absent one when the field is undefined or null.
  TensorArg OptionalTensor(const char* name, std::vector<DType> allowed = {}) const;
  // float32 or int32 of exactly `elements` elements (any shape).
  TensorArg Floats(const char* name, int64_t elements) const;
  TensorArg OptionalFloats(const char* name, int64_t elements) const;
  TensorArg Ints(const char* name, int64_t elements) const;
  TensorArg OptionalInts(const char* name, int64_t elements) const;

  // The same for a tensor that is written. It must share no memory with any other tensor of the call, or a number that
  // was checked could change before it is used; but it may be exactly the tensor `in_place`.
  TensorArg Output(const char* name, std::vector<DType> allowed = {}, const char* in_place = nullptr) const;
  TensorArg OutputFloats(const char* name, int64_t elements, const char* in_place = nullptr) const;
  TensorArg OptionalOutputFloats(const char* name, int64_t elements) const;
  TensorArg OptionalOutputInts(const char* name, int64_t elements) const;

  // Where the tensors that were read so far are: a call's tensors live on one device, which is checked as they are
  // read.
  Device device() const { return device_; }
  bool on_gpu() const { return device_ == Device::kCuda; }

  double Number(const char* name) const;  // finite
  int64_t Integer(const char* name, int64_t low, int64_t high) const;
  bool Boolean(const char* name) const;
  std::string String(const char* name) const;
  // An array of 1 to `most` (at most kMostNumbers) numbers; what is no number is NaN.
  std::vector<double> Numbers(const char* name, int most) const;
  static constexpr int kMostNumbers = 16;

 private:
  static constexpr uint32_t kMostDimensions = 8;
  // A field as it came. Of an object with a dtype, what makes it a tensor; of an array, its first numbers.
  struct Field {
    char name[32];
    Napi::Value value, dtype, storage;
    bool is_tensor, has_shape, has_device, on_gpu;
    uint32_t length;  // of the shape, or of the array
    double numbers[kMostNumbers];
    TypedArrayMemory memory;  // on the GPU `data` and `bytes` alone
  };
  void ReadTensor(Napi::Object object, Field* field) const;
  void ReadNumbers(Napi::Array array, uint32_t most, Field* field) const;
  const Field* Find(const char* name) const;

  void FindMemory(Field* field) const;
  void CheckMemory(const Field& field, const TensorArg& tensor) const;
  TensorArg Exact(const char* name, DType dtype, int64_t elements, bool optional) const;
  void CheckDevice(const char* name, Device device) const;
  void CheckApart(const char* name, const char* in_place) const;
  Napi::Env env_;
  std::vector<Field> fields_;
  Devices devices_;
  mutable Device device_ = Device::kCpu;
  mutable std::string first_tensor_;  // for the message when another is on another device
};

// Offsets of packed sequences: int32, starts at 0, never falls, ends at `total`; at least one entry. Returns the number
// of pieces. On the GPU the kernel checks them (PieceOf in kernels/failures_cuda.h).
// `things` names what is packed, for the message.
int64_t CheckOffsets(Napi::Env env, const char* name, const TensorArg& offsets, int64_t total,
                     const char* things = "tokens");

// A float32 per packed thing, and the offsets of the sequences (or what else they are packed by).
struct PackedFloats {
  TensorArg values;
  int64_t elements, pieces;
  const int32_t* offsets;
};
PackedFloats ReadPacked(const Args& args, const char* values, const char* offsets, const char* things = "tokens");

// oldLogProbs and cuSeqlens, into the arguments of a kernel that goes by the tokens of packed sequences.
template <typename Kernel>
void ReadOldLogProbs(const Args& args, Kernel* kernel) {
  const PackedFloats old_logprob = ReadPacked(args, "oldLogProbs", "cuSeqlens");
  kernel->tokens = old_logprob.elements;
  kernel->sequences = old_logprob.pieces;
  kernel->cu_seqlens = old_logprob.offsets;
  kernel->old_logprob = old_logprob.values.f32();
}

}  // namespace prl
