// Stands in for libcublas.so where the addon runs on the emulator: the functions that native/runtime/cuda/cublas.cc
// asks for, written from cuBLAS's documentation. A product is three loops in double. Like cuBLAS it is only queued: it
// runs in the order of the stream. What cuBLAS refuses is refused with its status; what it would read or write out of
// bounds fails, and so does what this project must not do (a product without a workspace of its own, arithmetic other
// than float32's). The reason goes to stderr.
//
//   PRL_FAKE_CUBLAS_DEVICE=N   leaves the thread with device N, as a library may
#include <dlfcn.h>
#include <link.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#define PRL_EXPORT extern "C" __attribute__((visibility("default")))

namespace {

enum Status {
  kSuccess = 0,
  kNotInitialized = 1,
  kInvalidValue = 7,
  kExecutionFailed = 13,
  kInternalError = 14,
  kNotSupported = 15
};
enum Type { kFloat32 = 0, kFloat16 = 2, kBFloat16 = 14 };

Status Refuse(Status status, const char* why) {
  fprintf(stderr, "fake cuBLAS: %s\n", why);
  return status;
}

// What the emulator in prl.node exports (test/emulator/runtime.cc). The addon is loaded already, but not for all to
// see.
struct Emulator {
  int (*queue)(void* stream, void (*function)(void*), void* data) = nullptr;
  bool (*on_device)(const void* pointer, size_t bytes) = nullptr;
  int (*set_device)(int device) = nullptr;
};
int LookIn(dl_phdr_info* info, size_t, void* found) {
  void* const library =
      info->dlpi_name && *info->dlpi_name ? dlopen(info->dlpi_name, RTLD_LAZY | RTLD_NOLOAD) : nullptr;
  if (!library) return 0;
  auto* emulator = static_cast<Emulator*>(found);
  emulator->queue = reinterpret_cast<decltype(emulator->queue)>(dlsym(library, "prl_emulator_queue"));
  emulator->on_device = reinterpret_cast<decltype(emulator->on_device)>(dlsym(library, "prl_emulator_on_device"));
  emulator->set_device = reinterpret_cast<decltype(emulator->set_device)>(dlsym(library, "prl_emulator_set_device"));
  dlclose(library);
  return emulator->queue && emulator->on_device;
}
const Emulator& TheEmulator() {
  static const Emulator emulator = [] {
    Emulator found;
    dl_iterate_phdr(LookIn, &found);
    return found;
  }();
  return emulator;
}

struct Handle {
  static constexpr uint64_t kMagic = 0x70726c2d626c6173;
  uint64_t magic = kMagic;
  void* stream = nullptr;
  void* workspace = nullptr;
  int math_mode = 0;
};
Handle* Valid(void* handle) {
  auto* h = static_cast<Handle*>(handle);
  return h && h->magic == Handle::kMagic ? h : nullptr;
}

size_t SizeOf(int type) { return type == kFloat32 ? 4 : 2; }

float Load(const void* from, int type, int64_t at) {
  if (type == kFloat32) return static_cast<const float*>(from)[at];
  uint16_t bits;
  memcpy(&bits, static_cast<const uint16_t*>(from) + at, 2);
  if (type == kFloat16) {
    _Float16 half;
    memcpy(&half, &bits, 2);
    return (float)half;
  }
  const uint32_t wide = (uint32_t)bits << 16;
  float value;
  memcpy(&value, &wide, 4);
  return value;
}

void Store(void* to, int type, int64_t at, float value) {
  if (type == kFloat32) {
    static_cast<float*>(to)[at] = value;
    return;
  }
  uint16_t bits;
  if (type == kFloat16) {
    const _Float16 half = (_Float16)value;
    memcpy(&bits, &half, 2);
  } else {
    uint32_t wide;
    memcpy(&wide, &value, 4);
    bits = (uint16_t)(value != value ? (wide >> 16) | 0x40 : (wide + 0x7fff + ((wide >> 16) & 1)) >> 16);
  }
  memcpy(static_cast<uint16_t*>(to) + at, &bits, 2);
}

// Column by column, as cuBLAS has its matrices: element (row, column) at row + column * ld.
struct Product {
  bool transpose_a, transpose_b;
  int64_t m, n, k, lda, ldb, ldc;
  const void *a, *b;
  void* c;
  int a_type, b_type, c_type;
  float alpha, beta;
};

void Run(void* data) {
  const Product& p = *static_cast<Product*>(data);
  for (int64_t j = 0; j < p.n; ++j) {
    for (int64_t i = 0; i < p.m; ++i) {
      double sum = 0;
      for (int64_t l = 0; l < p.k; ++l) {
        const float a = Load(p.a, p.a_type, p.transpose_a ? l + i * p.lda : i + l * p.lda);
        const float b = Load(p.b, p.b_type, p.transpose_b ? j + l * p.ldb : l + j * p.ldb);
        sum += (double)a * b;
      }
      const int64_t at = i + j * p.ldc;
      Store(p.c, p.c_type, at, (float)(p.alpha * sum + (p.beta == 0 ? 0.0 : (double)p.beta * Load(p.c, p.c_type, at))));
    }
  }
  delete &p;
}

// From the first to the last element of a matrix of `rows` x `columns`.
size_t Extent(int64_t rows, int64_t columns, int64_t ld, int type) {
  return rows && columns ? (size_t)((columns - 1) * ld + rows) * SizeOf(type) : 0;
}
bool Overlap(const void* x, size_t x_bytes, const void* y, size_t y_bytes) {
  const auto a = (uintptr_t)x, b = (uintptr_t)y;
  return x_bytes && y_bytes && a < b + y_bytes && b < a + x_bytes;
}

}  // namespace

PRL_EXPORT int cublasCreate_v2(void** handle) {
  if (!handle) return kInvalidValue;
  if (!TheEmulator().queue) return Refuse(kNotInitialized, "there is no emulator of a GPU in this process");
  *handle = new Handle;
  if (const char* device = getenv("PRL_FAKE_CUBLAS_DEVICE")) TheEmulator().set_device(atoi(device));
  return kSuccess;
}
PRL_EXPORT int cublasDestroy_v2(void* handle) {
  if (!Valid(handle)) return kNotInitialized;
  static_cast<Handle*>(handle)->magic = 0;
  delete static_cast<Handle*>(handle);
  return kSuccess;
}
PRL_EXPORT int cublasSetStream_v2(void* handle, void* stream) {
  Handle* h = Valid(handle);
  if (!h) return kNotInitialized;
  h->stream = stream;
  h->workspace = nullptr;  // back to cuBLAS's own, as documented
  return kSuccess;
}
PRL_EXPORT int cublasSetWorkspace_v2(void* handle, void* workspace, size_t bytes) {
  Handle* h = Valid(handle);
  if (!h) return kNotInitialized;
  if ((uintptr_t)workspace % 256) return Refuse(kInvalidValue, "the workspace is not on a 256-byte boundary");
  if (!TheEmulator().on_device(workspace, bytes))
    return Refuse(kInvalidValue, "the workspace is not memory of the device");
  h->workspace = workspace;
  return kSuccess;
}
PRL_EXPORT int cublasSetMathMode(void* handle, int mode) {
  Handle* h = Valid(handle);
  if (!h) return kNotInitialized;
  if (mode != 0 && mode != 16) return Refuse(kInvalidValue, "a math mode that rounds float32");
  h->math_mode = mode;
  return kSuccess;
}
PRL_EXPORT int cublasGetProperty(int which, int* value) {
  if (which < 0 || which > 2 || !value) return kInvalidValue;
  *value = which == 0 ? 13 : 0;
  return kSuccess;
}
PRL_EXPORT const char* cublasGetStatusName(int status) {
  switch (status) {
    case kSuccess: return "CUBLAS_STATUS_SUCCESS";
    case kNotInitialized: return "CUBLAS_STATUS_NOT_INITIALIZED";
    case kInvalidValue: return "CUBLAS_STATUS_INVALID_VALUE";
    case kExecutionFailed: return "CUBLAS_STATUS_EXECUTION_FAILED";
    case kInternalError: return "CUBLAS_STATUS_INTERNAL_ERROR";
    case kNotSupported: return "CUBLAS_STATUS_NOT_SUPPORTED";
  }
  return "unknown status";
}
PRL_EXPORT const char* cublasGetStatusString(int) { return "as the fake cuBLAS says on stderr"; }

PRL_EXPORT int cublasGemmEx(void* handle, int op_a, int op_b, int m, int n, int k, const void* alpha, const void* a,
                            int a_type, int lda, const void* b, int b_type, int ldb, const void* beta, void* c,
                            int c_type, int ldc, int compute, int algorithm) {
  Handle* h = Valid(handle);
  if (!h) return kNotInitialized;
  if (op_a < 0 || op_a > 2 || op_b < 0 || op_b > 2) return Refuse(kInvalidValue, "an operation that there is not");
  if (m < 0 || n < 0 || k < 0) return Refuse(kInvalidValue, "a negative size");
  if (!alpha || !beta) return Refuse(kInvalidValue, "alpha or beta is null");
  const int rows_a = op_a ? k : m, columns_a = op_a ? m : k, rows_b = op_b ? n : k, columns_b = op_b ? k : n;
  if (lda < std::max(1, rows_a) || ldb < std::max(1, rows_b) || ldc < std::max(1, m)) {
    return Refuse(kInvalidValue, "a leading dimension is less than the rows");
  }
  const bool known = (a_type == kFloat32 || a_type == kFloat16 || a_type == kBFloat16) && a_type == b_type;
  if (!known || (c_type != a_type && c_type != kFloat32))
    return Refuse(kNotSupported, "a combination of types that is not supported");
  if (compute != 68 || algorithm != -1)
    return Refuse(kNotSupported, "arithmetic other than float32, or an algorithm of one's own");
  if (m == 0 || n == 0) return kSuccess;
  const size_t a_bytes = k ? Extent(rows_a, columns_a, lda, a_type) : 0,
               b_bytes = k ? Extent(rows_b, columns_b, ldb, b_type) : 0;
  const size_t c_bytes = Extent(m, n, ldc, c_type);
  if ((k && (!a || !b)) || !c) return Refuse(kInvalidValue, "a matrix is null");
  const Emulator& emulator = TheEmulator();
  if ((k && (!emulator.on_device(a, a_bytes) || !emulator.on_device(b, b_bytes))) || !emulator.on_device(c, c_bytes)) {
    return Refuse(kExecutionFailed, "a matrix goes beyond its memory");
  }
  if ((uintptr_t)a % SizeOf(a_type) || (uintptr_t)b % SizeOf(b_type) || (uintptr_t)c % SizeOf(c_type)) {
    return Refuse(kExecutionFailed, "a matrix lies between elements");
  }
  if (Overlap(a, a_bytes, c, c_bytes) || Overlap(b, b_bytes, c, c_bytes))
    return Refuse(kExecutionFailed, "the result overlaps an operand");
  if (!h->workspace) return Refuse(kInternalError, "no workspace was set after the stream");
  if (h->math_mode != 16) return Refuse(kInternalError, "sums of 16-bit results may be rounded on the way");
  auto* product = new Product{op_a != 0,
                              op_b != 0,
                              m,
                              n,
                              k,
                              lda,
                              ldb,
                              ldc,
                              a,
                              b,
                              c,
                              a_type,
                              b_type,
                              c_type,
                              *static_cast<const float*>(alpha),
                              *static_cast<const float*>(beta)};
  if (emulator.queue(h->stream, Run, product) == 0) return kSuccess;
  delete product;
  return Refuse(kExecutionFailed, "the stream took no work");
}
