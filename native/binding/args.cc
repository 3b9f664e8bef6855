#include "binding/args.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "binding/cuda.h"

namespace prl {
namespace {

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

bool NameIs(Napi::Value value, const char* name) {
  char text[16];
  size_t length = 0;
  return napi_get_value_string_utf8(value.Env(), value, text, sizeof text, &length) == napi_ok &&
         std::strcmp(text, name) == 0;
}

}  // namespace

TypedArrayMemory TypedArrayMemoryOf(Napi::Env env, Napi::Value value, const char* name) {
  bool is_typed_array = false;
  if (napi_is_typedarray(env, value, &is_typed_array) != napi_ok || !is_typed_array) {
    Throw(env, Code::kInvalidArgument, "%s has no typed array as its data, but %s", name, KindOf(value));
  }
  TypedArrayMemory memory{};
  napi_value buffer = nullptr;
  size_t offset = 0;
  bool is_array_buffer = false, is_detached = false;
  if (napi_get_typedarray_info(env, value, &memory.type, &memory.length, &memory.data, &buffer, &offset) != napi_ok ||
      napi_is_arraybuffer(env, buffer, &is_array_buffer) != napi_ok) {
    Throw(env, Code::kInvalidArgument, "%s could not be read", name);
  }
  if (!is_array_buffer) {
    Throw(env, Code::kInvalidArgument,
          "%s is backed by a SharedArrayBuffer: another thread could change it during the call; copy it", name);
  }
  if (napi_is_detached_arraybuffer(env, buffer, &is_detached) != napi_ok || is_detached) {
    Throw(env, Code::kInvalidArgument, "%s is backed by a detached ArrayBuffer", name);
  }
  memory.bytes = value.As<Napi::TypedArray>().ByteLength();
  return memory;
}

Args::Args(const Napi::CallbackInfo& info, Devices devices) : env_(info.Env()), devices_(devices) {
  if (info.Length() < 1 || !info[0].IsObject() || info[0].IsTypedArray() || info[0].IsArray()) {
    Throw(env_, Code::kInvalidArgument, "expected one object of arguments");
  }
  const Napi::Object object = info[0].As<Napi::Object>();
  napi_value keys = nullptr;
  const auto filter = static_cast<napi_key_filter>(napi_key_enumerable | napi_key_skip_symbols);
  if (napi_get_all_property_names(env_, object, napi_key_own_only, filter, napi_key_numbers_to_strings, &keys) !=
      napi_ok)
    throw Napi::Error::New(env_);
  const Napi::Array names(env_, keys);
  const uint32_t count = names.Length();
  if (count > 1000) Throw(env_, Code::kInvalidArgument, "an object of %u arguments", count);
  fields_.reserve(count);
  for (uint32_t i = 0; i < count; ++i) {
    const Napi::Value name = names.Get(i);
    Field field{};
    size_t length = 0;
    if (napi_get_value_string_utf8(env_, name, field.name, sizeof field.name, &length) != napi_ok)
      throw Napi::Error::New(env_);
    if (length + 1 == sizeof field.name) continue;  // cut short: no argument has such a name
    field.value = object.Get(name);
    if (field.value.IsArray()) ReadNumbers(field.value.As<Napi::Array>(), kMostNumbers, &field);
    else if (field.value.Type() == napi_object) ReadTensor(field.value.As<Napi::Object>(), &field);
    fields_.push_back(field);
  }
  // Not before everything was read: from here on no buffer can be detached or resized.
  for (Field& field : fields_) {
    if (field.is_tensor && field.has_device) FindMemory(&field);
  }
}

void Args::ReadTensor(Napi::Object object, Field* field) const {
  field->dtype = object.Get("dtype");
  field->is_tensor = field->dtype.IsString();
  if (!field->is_tensor) return;
  const Napi::Value device = object.Get("device"), shape = object.Get("shape");
  field->on_gpu = NameIs(device, "cuda");
  field->has_device = field->on_gpu || NameIs(device, "cpu");
  field->has_shape = shape.IsArray();
  if (field->has_shape) ReadNumbers(shape.As<Napi::Array>(), kMostDimensions, field);
  field->storage = object.Get(field->on_gpu ? "memory" : "data");
}

void Args::FindMemory(Field* field) const {
  if (field->on_gpu) {
    const DeviceMemory& memory = DeviceMemoryOf(env_, field->storage, field->name);
    field->memory.data = memory.pointer;
    field->memory.bytes = memory.bytes;
  } else {
    field->memory = TypedArrayMemoryOf(env_, field->storage, field->name);
  }
}

void Args::ReadNumbers(Napi::Array array, uint32_t most, Field* field) const {
  field->length = array.Length();
  for (uint32_t i = 0; i < std::min(field->length, most); ++i) {
    const Napi::Value number = array.Get(i);
    field->numbers[i] = number.IsNumber() ? number.As<Napi::Number>().DoubleValue() : NAN;
  }
}

const Args::Field* Args::Find(const char* name) const {
  for (const Field& field : fields_) {
    if (std::strcmp(field.name, name) == 0) return &field;
  }
  return nullptr;
}

Napi::Value Args::Value(const char* name) const {
  const Field* field = Find(name);
  return field ? field->value : env_.Undefined();
}

bool Args::Has(const char* name) const {
  const Napi::Value value = Value(name);
  return !value.IsUndefined() && !value.IsNull();
}

TensorArg Args::Tensor(const char* name, std::vector<DType> allowed) const {
  if (allowed.empty()) allowed = {DType::kFloat32, DType::kBFloat16, DType::kFloat16};
  const Field* field = Find(name);
  if (!field || !field->is_tensor) {
    Throw(env_, Code::kInvalidArgument, "%s must be a Tensor, not %s", name, KindOf(Value(name)));
  }
  TensorArg tensor;
  const std::string dtype_name = field->dtype.As<Napi::String>().Utf8Value();
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
  if (!legal)
    Throw(env_, Code::kInvalidArgument, "%s must be %s, not %s", name, expected.c_str(), NameOf(tensor.dtype));

  if (!field->has_device) Throw(env_, Code::kInvalidArgument, "%s has no device", name);
  tensor.device = field->on_gpu ? Device::kCuda : Device::kCpu;
  CheckDevice(name, tensor.device);

  if (!field->has_shape) Throw(env_, Code::kInvalidArgument, "%s has no shape", name);
  if (field->length < 1 || field->length > kMostDimensions) {
    Throw(env_, Code::kInvalidArgument, "%s must have 1 to %u dimensions", name, kMostDimensions);
  }
  tensor.elements = 1;
  for (uint32_t i = 0; i < field->length; ++i) {
    const double size = field->numbers[i];
    if (!(size >= 0 && size <= 9007199254740991.0 && size == std::floor(size))) {
      Throw(env_, Code::kOutOfRange, "%s has a bad size in dimension %u", name, i);
    }
    tensor.shape.push_back(static_cast<int64_t>(size));
    if (__builtin_mul_overflow(tensor.elements, static_cast<int64_t>(size), &tensor.elements)) {
      Throw(env_, Code::kOutOfRange, "%s has too many elements", name);
    }
  }
  CheckMemory(*field, tensor);
  tensor.data = field->memory.data;
  return tensor;
}

void Args::CheckMemory(const Field& field, const TensorArg& tensor) const {
  const TypedArrayMemory& memory = field.memory;
  if (tensor.on_gpu()) {
    if (memory.bytes / SizeOf(tensor.dtype) >= static_cast<size_t>(tensor.elements)) return;
    Throw(env_, Code::kOutOfRange, "%s has a shape of %lld elements but memory of %zu bytes", field.name,
          (long long)tensor.elements, memory.bytes);
  }
  const napi_typedarray_type wanted = tensor.dtype == DType::kFloat32 ? napi_float32_array
                                      : tensor.dtype == DType::kInt32 ? napi_int32_array
                                                                      : napi_uint16_array;
  if (memory.type != wanted) {
    Throw(env_, Code::kInvalidArgument, "%s is %s but its data is a typed array of another kind", field.name,
          NameOf(tensor.dtype));
  }
  if (memory.length != static_cast<size_t>(tensor.elements)) {
    Throw(env_, Code::kOutOfRange, "%s has a shape of %lld elements but data of %zu", field.name,
          (long long)tensor.elements, memory.length);
  }
}

void Args::CheckDevice(const char* name, Device device) const {
  if (device == Device::kCuda && devices_ == kCpuOnly) {
    Throw(env_, Code::kUnsupported,
          "%s is on the GPU, but this function runs on the CPU only: await %s.read() gives its values", name, name);
  }
  if (first_tensor_.empty()) {
    first_tensor_ = name;
    device_ = device;
  } else if (device != device_) {
    const auto place = [](Device d) { return d == Device::kCuda ? "the GPU" : "the CPU"; };
    Throw(env_, Code::kInvalidArgument, "%s is on %s but %s is on %s: the tensors of a call live on one device",
          first_tensor_.c_str(), place(device_), name, place(device));
  }
}

TensorArg Args::OptionalTensor(const char* name, std::vector<DType> allowed) const {
  return Has(name) ? Tensor(name, std::move(allowed)) : TensorArg{};
}

TensorArg Args::Exact(const char* name, DType dtype, int64_t elements, bool optional) const {
  if (optional && !Has(name)) return TensorArg{};
  TensorArg tensor = Tensor(name, {dtype});
  if (tensor.elements != elements) {
    Throw(env_, Code::kOutOfRange, "%s must have %lld elements, not %lld", name, (long long)elements,
          (long long)tensor.elements);
  }
  return tensor;
}

TensorArg Args::Floats(const char* name, int64_t elements) const {
  return Exact(name, DType::kFloat32, elements, false);
}
TensorArg Args::OptionalFloats(const char* name, int64_t elements) const {
  return Exact(name, DType::kFloat32, elements, true);
}
TensorArg Args::Ints(const char* name, int64_t elements) const { return Exact(name, DType::kInt32, elements, false); }
TensorArg Args::OptionalInts(const char* name, int64_t elements) const {
  return Exact(name, DType::kInt32, elements, true);
}

TensorArg Args::Output(const char* name, std::vector<DType> allowed, const char* in_place) const {
  TensorArg tensor = Tensor(name, std::move(allowed));
  CheckApart(name, in_place);
  return tensor;
}

TensorArg Args::OutputFloats(const char* name, int64_t elements, const char* in_place) const {
  TensorArg tensor = Floats(name, elements);
  CheckApart(name, in_place);
  return tensor;
}

TensorArg Args::OptionalOutputFloats(const char* name, int64_t elements) const {
  return Has(name) ? OutputFloats(name, elements) : TensorArg{};
}

TensorArg Args::OptionalOutputInts(const char* name, int64_t elements) const {
  TensorArg tensor = OptionalInts(name, elements);
  if (tensor.present()) CheckApart(name, nullptr);
  return tensor;
}

void Args::CheckApart(const char* name, const char* in_place) const {
  const Field& output = *Find(name);
  const auto first = reinterpret_cast<uintptr_t>(output.memory.data), last = first + output.memory.bytes;
  for (const Field& field : fields_) {
    if (!field.is_tensor || field.on_gpu != output.on_gpu || &field == &output) continue;
    const auto begin = reinterpret_cast<uintptr_t>(field.memory.data), end = begin + field.memory.bytes;
    if (begin >= last || first >= end || begin == end || first == last) continue;
    if (in_place && std::strcmp(field.name, in_place) == 0 && begin == first && end == last) continue;
    Throw(env_, Code::kInvalidArgument, "%s and %s share memory: what is written needs memory of its own", name,
          field.name);
  }
}

double Args::Number(const char* name) const {
  const Napi::Value value = Value(name);
  if (!value.IsNumber()) Throw(env_, Code::kInvalidArgument, "%s must be a number, not %s", name, KindOf(value));
  const double number = value.As<Napi::Number>().DoubleValue();
  if (!std::isfinite(number)) Throw(env_, Code::kOutOfRange, "%s must be finite, not %g", name, number);
  return number;
}

int64_t Args::Integer(const char* name, int64_t low, int64_t high) const {
  const double number = Number(name);
  if (number != std::floor(number) || number < static_cast<double>(low) || number > static_cast<double>(high)) {
    Throw(env_, Code::kOutOfRange, "%s must be an integer from %lld to %lld, not %g", name, (long long)low,
          (long long)high, number);
  }
  return static_cast<int64_t>(number);
}

bool Args::Boolean(const char* name) const {
  const Napi::Value value = Value(name);
  if (!value.IsBoolean()) Throw(env_, Code::kInvalidArgument, "%s must be true or false, not %s", name, KindOf(value));
  return value.As<Napi::Boolean>().Value();
}

std::string Args::String(const char* name) const {
  const Napi::Value value = Value(name);
  if (!value.IsString()) Throw(env_, Code::kInvalidArgument, "%s must be a string, not %s", name, KindOf(value));
  return value.As<Napi::String>().Utf8Value();
}

std::vector<double> Args::Numbers(const char* name, int most) const {
  const Field* field = Find(name);
  if (!field || !field->value.IsArray())
    Throw(env_, Code::kInvalidArgument, "%s must be an array, not %s", name, KindOf(Value(name)));
  if (field->length < 1 || field->length > static_cast<uint32_t>(most)) {
    Throw(env_, Code::kOutOfRange, "%s must hold 1 to %d numbers, not %u", name, most, field->length);
  }
  return {field->numbers, field->numbers + field->length};
}

int64_t CheckOffsets(Napi::Env env, const char* name, const TensorArg& offsets, int64_t total, const char* things) {
  const int64_t n = offsets.elements;
  if (offsets.on_gpu()) {
    if (n < 1) Throw(env, Code::kOutOfRange, "%s must start with 0", name);
    if (n == 1 && total != 0)
      Throw(env, Code::kOutOfRange, "%s must end at %lld, the number of %s, not at 0", name, (long long)total, things);
    return n - 1;
  }
  const int32_t* o = offsets.i32();
  if (n < 1 || o[0] != 0) Throw(env, Code::kOutOfRange, "%s must start with 0", name);
  for (int64_t i = 1; i < n; ++i) {
    if (o[i] < o[i - 1])
      Throw(env, Code::kOutOfRange, "%s[%lld] = %d is less than the entry before it, %d", name, (long long)i, o[i],
            o[i - 1]);
  }
  if (o[n - 1] != total) {
    Throw(env, Code::kOutOfRange, "%s must end at %lld, the number of %s, not at %d", name, (long long)total, things,
          o[n - 1]);
  }
  return n - 1;
}

PackedFloats ReadPacked(const Args& args, const char* values_name, const char* offsets_name, const char* things) {
  const TensorArg values = args.Tensor(values_name, {DType::kFloat32}),
                  offsets = args.Tensor(offsets_name, {DType::kInt32});
  return {values, values.elements, CheckOffsets(args.env(), offsets_name, offsets, values.elements, things),
          offsets.i32()};
}

}  // namespace prl
