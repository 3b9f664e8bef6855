#include "binding/args.h"

#include <cmath>
#include <cstdarg>
#include <cstdio>
#include <new>

#include "binding/cuda.h"

namespace prl {
namespace {

const char* CodeName(Code code) {
  switch (code) {
    case Code::kOk: return "OK";
    case Code::kInvalidArgument: return "ERR_PRL_INVALID_ARGUMENT";
    case Code::kOutOfRange: return "ERR_PRL_OUT_OF_RANGE";
    case Code::kNonFinite: return "ERR_PRL_NON_FINITE";
    case Code::kUnsupported: return "ERR_PRL_UNSUPPORTED";
    case Code::kOutOfMemory: return "ERR_PRL_OUT_OF_MEMORY";
    case Code::kAborted: return "ERR_PRL_ABORTED";
    case Code::kDisposed: return "ERR_PRL_DISPOSED";
    case Code::kBusy: return "ERR_PRL_BUSY";
    case Code::kCuda: return "ERR_PRL_CUDA";
    case Code::kIo: return "ERR_PRL_IO";
    case Code::kCorrupt: return "ERR_PRL_CORRUPT";
    case Code::kInternal: break;
  }
  return "ERR_PRL_INTERNAL";
}

void Check(Napi::Env env, napi_status status, const char* name) {
  if (status != napi_ok) Throw(env, Code::kInvalidArgument, "%s could not be read", name);
}

const char* KindOf(Napi::Value value) {
  if (value.IsNull()) return "null";
  if (value.IsArray()) return "an array";
  if (value.IsTypedArray()) return "a typed array of another kind";
  switch (value.Type()) {
    case napi_undefined: return "undefined";
    case napi_boolean: return "a boolean";
    case napi_number: return "a number";
    case napi_string: return "a string";
    case napi_function: return "a function";
    case napi_bigint: return "a bigint";
    default: return "an object";
  }
}

}  // namespace

Napi::Error ToError(Napi::Env env, const Status& status) {
  const char* code = CodeName(status.code);
  if (status.code != Code::kInvalidArgument && status.code != Code::kOutOfRange) {
    AddonData* data = env.GetInstanceData<AddonData>();
    if (data && !data->prl_error.IsEmpty()) {
      Napi::Object error = data->prl_error.New({Napi::String::New(env, code), Napi::String::New(env, status.message)}).As<Napi::Object>();
      return Napi::Error(env, error);
    }
  }
  Napi::Error error = status.code == Code::kInvalidArgument ? Napi::Error(Napi::TypeError::New(env, status.message))
                      : status.code == Code::kOutOfRange    ? Napi::Error(Napi::RangeError::New(env, status.message))
                                                            : Napi::Error::New(env, status.message);
  error.Value().Set("code", Napi::String::New(env, code));
  return error;
}

void ThrowIfError(Napi::Env env, const Status& status) {
  if (!status.ok()) throw ToError(env, status);
}

void Throw(Napi::Env env, Code code, const char* format, ...) {
  Status status;
  status.code = code;
  va_list args;
  va_start(args, format);
  vsnprintf(status.message, sizeof status.message, format, args);
  va_end(args);
  throw ToError(env, status);
}

Args::Args(const Napi::CallbackInfo& info, Devices devices) : env_(info.Env()), devices_(devices) {
  if (info.Length() < 1 || !info[0].IsObject() || info[0].IsTypedArray() || info[0].IsArray()) {
    Throw(env_, Code::kInvalidArgument, "expected one object of arguments");
  }
  object_ = info[0].As<Napi::Object>();
}

bool Args::Has(const char* name) const {
  const Napi::Value value = object_.Get(name);
  return !value.IsUndefined() && !value.IsNull();
}

TensorArg Args::Parse(const char* name, Napi::Value value, const std::vector<DType>& allowed) const {
  if (!value.IsObject()) Throw(env_, Code::kInvalidArgument, "%s must be a Tensor, not %s", name, KindOf(value));
  const Napi::Object object = value.As<Napi::Object>();
  TensorArg tensor;

  const Napi::Value dtype = object.Get("dtype");
  if (!dtype.IsString()) Throw(env_, Code::kInvalidArgument, "%s must be a Tensor, not %s", name, KindOf(value));
  const std::string dtype_name = dtype.As<Napi::String>().Utf8Value();
  bool known = false;
  for (DType candidate : {DType::kFloat32, DType::kBFloat16, DType::kFloat16, DType::kInt32}) {
    if (dtype_name == NameOf(candidate)) {
      tensor.dtype = candidate;
      known = true;
    }
  }
  if (!known) Throw(env_, Code::kInvalidArgument, "%s has the unknown dtype '%.40s'", name, dtype_name.c_str());
  bool legal = false;
  std::string expected;
  for (DType candidate : allowed) {
    legal = legal || candidate == tensor.dtype;
    expected += (expected.empty() ? "" : " or ") + std::string(NameOf(candidate));
  }
  if (!legal) Throw(env_, Code::kInvalidArgument, "%s must be %s, not %s", name, expected.c_str(), NameOf(tensor.dtype));

  const Napi::Value device = object.Get("device");
  const std::string device_name = device.IsString() ? device.As<Napi::String>().Utf8Value() : "";
  if (device_name != "cpu" && device_name != "cuda") Throw(env_, Code::kInvalidArgument, "%s has no device", name);
  tensor.device = device_name == "cuda" ? Device::kCuda : Device::kCpu;
  CheckDevice(name, tensor.device);

  const Napi::Value shape = object.Get("shape");
  if (!shape.IsArray()) Throw(env_, Code::kInvalidArgument, "%s has no shape", name);
  const Napi::Array dims = shape.As<Napi::Array>();
  if (dims.Length() < 1 || dims.Length() > 8) Throw(env_, Code::kInvalidArgument, "%s must have 1 to 8 dimensions", name);
  tensor.elements = 1;
  for (uint32_t i = 0; i < dims.Length(); ++i) {
    const Napi::Value dim = dims.Get(i);
    const double size = dim.IsNumber() ? dim.As<Napi::Number>().DoubleValue() : -1;
    if (!(size >= 0 && size <= 9007199254740991.0 && size == std::floor(size))) {
      Throw(env_, Code::kOutOfRange, "%s has a bad size in dimension %u", name, i);
    }
    tensor.shape.push_back(static_cast<int64_t>(size));
    if (__builtin_mul_overflow(tensor.elements, static_cast<int64_t>(size), &tensor.elements)) {
      Throw(env_, Code::kOutOfRange, "%s has too many elements", name);
    }
  }

  // Last, because a getter of the object could run JavaScript that detaches the buffer.
  if (tensor.on_gpu()) {
    const DeviceMemory& memory = DeviceMemoryOf(env_, object.Get("memory"), name);
    if (memory.bytes / SizeOf(tensor.dtype) < static_cast<size_t>(tensor.elements)) {
      Throw(env_, Code::kOutOfRange, "%s has a shape of %lld elements but memory of %zu bytes", name, (long long)tensor.elements, memory.bytes);
    }
    tensor.data = memory.pointer;
    return tensor;
  }
  const Napi::Value data = object.Get("data");
  bool is_typed_array = false;
  Check(env_, napi_is_typedarray(env_, data, &is_typed_array), name);
  if (!is_typed_array) Throw(env_, Code::kInvalidArgument, "%s has no typed array as its data, but %s", name, KindOf(data));
  napi_typedarray_type type;
  size_t length = 0, offset = 0;
  napi_value buffer = nullptr;
  Check(env_, napi_get_typedarray_info(env_, data, &type, &length, &tensor.data, &buffer, &offset), name);
  bool is_array_buffer = false, is_detached = false;
  Check(env_, napi_is_arraybuffer(env_, buffer, &is_array_buffer), name);
  if (!is_array_buffer) {
    Throw(env_, Code::kInvalidArgument, "%s is backed by a SharedArrayBuffer: another thread could change it during the call; copy it", name);
  }
  Check(env_, napi_is_detached_arraybuffer(env_, buffer, &is_detached), name);
  if (is_detached) Throw(env_, Code::kInvalidArgument, "%s is backed by a detached ArrayBuffer", name);
  const napi_typedarray_type wanted = tensor.dtype == DType::kFloat32 ? napi_float32_array
                                      : tensor.dtype == DType::kInt32 ? napi_int32_array
                                                                      : napi_uint16_array;
  if (type != wanted) Throw(env_, Code::kInvalidArgument, "%s is %s but its data is a typed array of another kind", name, NameOf(tensor.dtype));
  if (static_cast<int64_t>(length) != tensor.elements) {
    Throw(env_, Code::kOutOfRange, "%s has a shape of %lld elements but data of %zu", name, (long long)tensor.elements, length);
  }
  return tensor;
}

void Args::CheckDevice(const char* name, Device device) const {
  if (device == Device::kCuda && devices_ == kCpuOnly) {
    Throw(env_, Code::kUnsupported, "%s is on the GPU, but this function runs on the CPU only: await %s.read() gives its values", name, name);
  }
  if (first_tensor_.empty()) {
    first_tensor_ = name;
    device_ = device;
  } else if (device != device_) {
    const auto place = [](Device d) { return d == Device::kCuda ? "the GPU" : "the CPU"; };
    Throw(env_, Code::kInvalidArgument, "%s is on %s but %s is on %s: the tensors of a call live on one device", first_tensor_.c_str(),
          place(device_), name, place(device));
  }
}

TensorArg Args::Tensor(const char* name, std::vector<DType> allowed) const {
  if (allowed.empty()) allowed = {DType::kFloat32, DType::kBFloat16, DType::kFloat16};
  return Parse(name, object_.Get(name), allowed);
}

TensorArg Args::OptionalTensor(const char* name, std::vector<DType> allowed) const {
  return Has(name) ? Tensor(name, std::move(allowed)) : TensorArg{};
}

TensorArg Args::Exact(const char* name, DType dtype, int64_t elements, bool optional) const {
  if (optional && !Has(name)) return TensorArg{};
  TensorArg tensor = Tensor(name, {dtype});
  if (tensor.elements != elements) {
    Throw(env_, Code::kOutOfRange, "%s must have %lld elements, not %lld", name, (long long)elements, (long long)tensor.elements);
  }
  return tensor;
}

TensorArg Args::Floats(const char* name, int64_t elements) const { return Exact(name, DType::kFloat32, elements, false); }
TensorArg Args::OptionalFloats(const char* name, int64_t elements) const { return Exact(name, DType::kFloat32, elements, true); }
TensorArg Args::Ints(const char* name, int64_t elements) const { return Exact(name, DType::kInt32, elements, false); }
TensorArg Args::OptionalInts(const char* name, int64_t elements) const { return Exact(name, DType::kInt32, elements, true); }

double Args::Number(const char* name) const {
  const Napi::Value value = object_.Get(name);
  if (!value.IsNumber()) Throw(env_, Code::kInvalidArgument, "%s must be a number, not %s", name, KindOf(value));
  const double number = value.As<Napi::Number>().DoubleValue();
  if (!std::isfinite(number)) Throw(env_, Code::kOutOfRange, "%s must be finite, not %g", name, number);
  return number;
}

int64_t Args::Integer(const char* name, int64_t low, int64_t high) const {
  const double number = Number(name);
  if (number != std::floor(number) || number < static_cast<double>(low) || number > static_cast<double>(high)) {
    Throw(env_, Code::kOutOfRange, "%s must be an integer from %lld to %lld, not %g", name, (long long)low, (long long)high, number);
  }
  return static_cast<int64_t>(number);
}

bool Args::Boolean(const char* name) const {
  const Napi::Value value = object_.Get(name);
  if (!value.IsBoolean()) Throw(env_, Code::kInvalidArgument, "%s must be true or false, not %s", name, KindOf(value));
  return value.As<Napi::Boolean>().Value();
}

std::string Args::String(const char* name) const {
  const Napi::Value value = object_.Get(name);
  if (!value.IsString()) Throw(env_, Code::kInvalidArgument, "%s must be a string, not %s", name, KindOf(value));
  return value.As<Napi::String>().Utf8Value();
}

int64_t CheckOffsets(Napi::Env env, const char* name, const TensorArg& offsets, int64_t total, const char* things) {
  const int64_t n = offsets.elements;
  if (offsets.on_gpu()) {
    if (n < 1) Throw(env, Code::kOutOfRange, "%s must start with 0", name);
    if (n == 1 && total != 0) Throw(env, Code::kOutOfRange, "%s must end at %lld, the number of %s, not at 0", name, (long long)total, things);
    return n - 1;
  }
  const int32_t* o = offsets.i32();
  if (n < 1 || o[0] != 0) Throw(env, Code::kOutOfRange, "%s must start with 0", name);
  for (int64_t i = 1; i < n; ++i) {
    if (o[i] < o[i - 1]) Throw(env, Code::kOutOfRange, "%s[%lld] = %d is less than the entry before it, %d", name, (long long)i, o[i], o[i - 1]);
  }
  if (o[n - 1] != total) {
    Throw(env, Code::kOutOfRange, "%s must end at %lld, the number of %s, not at %d", name, (long long)total, things, o[n - 1]);
  }
  return n - 1;
}

PackedFloats ReadPacked(const Args& args, const char* values_name, const char* offsets_name, const char* things) {
  const TensorArg values = args.Tensor(values_name, {DType::kFloat32}), offsets = args.Tensor(offsets_name, {DType::kInt32});
  return {values, values.elements, CheckOffsets(args.env(), offsets_name, offsets, values.elements, things), offsets.i32()};
}

namespace {

struct Exported {
  Napi::Value (*function)(const Napi::CallbackInfo&);
};

Napi::Value Call(const Napi::CallbackInfo& info) {
  const auto* exported = static_cast<const Exported*>(info.Data());
  Status status;
  try {
    return exported->function(info);
  } catch (const Napi::Error&) {
    throw;
  } catch (const std::bad_alloc&) {
    status = Error(Code::kOutOfMemory, "out of memory");
  } catch (const std::exception& e) {
    status = Error(Code::kInternal, "%s", e.what());
  }
  throw ToError(info.Env(), status);
}

}  // namespace

void Export(Napi::Env env, Napi::Object exports, const char* name, Napi::Value (*function)(const Napi::CallbackInfo&)) {
  // Lives as long as the process, like the function that points to it.
  exports.Set(name, Napi::Function::New(env, Call, name, new Exported{function}));
}

void CheckApart(Napi::Env env, const char* output_name, const TensorArg& output, const char* input_name, const TensorArg& input) {
  const auto begin = [](const TensorArg& t) { return reinterpret_cast<uintptr_t>(t.data); };
  const auto end = [&](const TensorArg& t) { return begin(t) + static_cast<size_t>(t.elements) * SizeOf(t.dtype); };
  if (begin(output) >= end(input) || begin(input) >= end(output)) return;
  Throw(env, Code::kInvalidArgument, "%s and %s share memory: what is written needs memory of its own", output_name, input_name);
}

}  // namespace prl
