#include "runtime/cuda/cublas.h"

#include <dlfcn.h>
#include <glob.h>
#include <sys/stat.h>

#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <string>
#include <vector>

#include "runtime/cuda/device.h"
#include "runtime/cuda/queue.h"

namespace prl {
namespace {

// What is used of cublas_api.h and library_types.h. Enumerations are ints there.
constexpr int kOpN = 0, kOpT = 1;
constexpr int kAllocFailed = 3;
constexpr int kCompute32F = 68, kAlgorithmDefault = -1;
// Default math (so no TF32 for float32), and sums of 16-bit results stay float32 until they are complete.
constexpr int kMathMode = 0 | 16;
// What NVIDIA recommends for compute capability 9.0. Given by us, so that it is not shared and results are
// reproducible.
constexpr size_t kWorkspaceBytes = size_t{32} << 20;

struct Api {
  void* library = nullptr;
  std::string path;
  int (*create)(void** handle) = nullptr;
  int (*destroy)(void* handle) = nullptr;
  int (*set_stream)(void* handle, void* stream) = nullptr;
  int (*set_workspace)(void* handle, void* workspace, size_t bytes) = nullptr;
  int (*set_math_mode)(void* handle, int mode) = nullptr;
  int (*get_property)(int which, int* value) = nullptr;
  const char* (*status_name)(int status) = nullptr;
  const char* (*status_string)(int status) = nullptr;
  int (*gemm_ex)(void* handle, int op_a, int op_b, int m, int n, int k, const void* alpha, const void* a, int a_type,
                 int lda, const void* b, int b_type, int ldb, const void* beta, void* c, int c_type, int ldc,
                 int compute, int algorithm) = nullptr;
};

// Made once and never destroyed, as the queue.
struct Cublas {
  std::mutex mutex;
  bool found = false;  // where there was none, the next call looks again
  Api api;
  void* handle = nullptr;
};
Cublas& TheCublas() {
  static Cublas* cublas = new Cublas;
  return *cublas;
}

int TypeNumber(DType dtype) { return dtype == DType::kFloat32 ? 0 : dtype == DType::kFloat16 ? 2 : 14; }

bool Open(const std::string& name, Api* api) {
  api->library = dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!api->library) return false;
  bool all = true;
  const auto get = [&](const char* symbol, auto* function) {
    *function = reinterpret_cast<std::remove_reference_t<decltype(*function)>>(dlsym(api->library, symbol));
    all = all && *function;
  };
  get("cublasCreate_v2", &api->create);
  get("cublasDestroy_v2", &api->destroy);
  get("cublasSetStream_v2", &api->set_stream);
  get("cublasSetWorkspace_v2", &api->set_workspace);
  get("cublasSetMathMode", &api->set_math_mode);
  get("cublasGetProperty", &api->get_property);
  get("cublasGetStatusName", &api->status_name);
  get("cublasGetStatusString", &api->status_string);
  get("cublasGemmEx", &api->gemm_ex);
  if (!all) {
    dlclose(api->library);
    return false;
  }
  Dl_info info;
  api->path = dladdr(reinterpret_cast<void*>(api->create), &info) && info.dli_fname ? info.dli_fname : name;
  return true;
}

bool OpenFirst(const std::string& pattern, Api* api) {
  glob_t found;
  bool open = false;
  if (glob(pattern.c_str(), 0, nullptr, &found) == 0) {
    for (size_t i = 0; i < found.gl_pathc && !open; ++i) open = Open(found.gl_pathv[i], api);
  }
  globfree(&found);
  return open;
}

std::vector<std::string> Folders() {
  std::vector<std::string> folders;
  const auto add = [&](const char* variable, const char* below) {
    const char* value = getenv(variable);
    if (value && *value) folders.push_back(std::string(value) + below);
  };
  add("CUDA_HOME", "/lib64");
  add("CUDA_PATH", "/lib64");
  folders.push_back("/usr/local/cuda/lib64");
  const char* const python = "/lib/python3*/*-packages/nvidia/*/lib";
  add("VIRTUAL_ENV", python);
  add("CONDA_PREFIX", python);
  add("CONDA_PREFIX", "/lib");
  add("HOME", "/.local/lib/python3*/*-packages/nvidia/*/lib");
  folders.push_back(std::string("/usr/local") + python);
  folders.push_back(std::string("/usr") + python);
  return folders;
}

Status Look(Api* api) {
  int driver = 0, runtime = 0;
  CudaVersions(&driver, &runtime);
  std::vector<std::string> names;
  for (const int major : {13, 12}) {
    if (driver == 0 || major <= driver / 1000) names.push_back("libcublas.so." + std::to_string(major));
  }
  const char* asked = getenv("PRL_CUBLAS");
  if (asked && *asked) {
    struct stat entry;
    const bool folder = stat(asked, &entry) == 0 && S_ISDIR(entry.st_mode);
    if (!folder && Open(asked, api)) return Ok();
    for (const std::string& name : names) {
      // The second: where pip puts it below a folder of its own (pip install --target).
      if (folder && (OpenFirst(asked + ("/" + name), api) || OpenFirst(asked + ("/nvidia/*/lib/" + name), api)))
        return Ok();
    }
    const char* why = folder ? "the folder has none" : dlerror();
    return Error(Code::kUnsupported, "PRL_CUBLAS=%.80s is not cuBLAS 12 or 13: %.100s", asked,
                 why ? why : "functions are missing");
  }
  for (const std::string& name : names) {
    if (Open(name, api)) return Ok();
    for (const std::string& folder : Folders()) {
      if (OpenFirst(folder + "/" + name, api)) return Ok();
    }
  }
  const bool old = driver != 0 && driver < 13000;
  return Error(Code::kUnsupported,
               "cuBLAS (libcublas.so.%s) was not found: run 'pip install nvidia-cublas%s', or let PRL_CUBLAS name the "
               "file or its folder",
               old ? "12" : "13 or 12", old ? "-cu12" : "");
}

// Under the mutex.
Status Find(Cublas& cublas) {
  if (!cublas.found) PRL_RETURN_IF_ERROR(Look(&cublas.api));
  cublas.found = true;
  return Ok();
}

Status Check(const Cublas& cublas, const char* kernel, int status, const char* what) {
  if (status == 0) return Ok();
  PRL_RETURN_IF_ERROR(CudaHealth());  // the fault of an earlier kernel is not cuBLAS's
  return Error(status == kAllocFailed ? Code::kOutOfMemory : Code::kCuda, "%s: %s in %s: %s", kernel,
               cublas.api.status_name(status), what, cublas.api.status_string(status));
}

// Under the mutex. A failed start leaves nothing and is tried again at the next call.
Status Start(Cublas& cublas, const char* kernel) {
  const Status found = Find(cublas);
  if (!found.ok()) return Error(found.code, "%s needs cuBLAS: %.220s", kernel, found.message);
  if (cublas.handle) return Ok();
  void *handle = nullptr, *workspace = nullptr;
  int created = cublas.api.create(&handle);
  if (created == kAllocFailed) {
    int64_t given_back = 0;
    PRL_RETURN_IF_ERROR(CudaEmptyCache(&given_back));
    created = cublas.api.create(&handle);
  }
  PRL_RETURN_IF_ERROR(Check(cublas, kernel, created, "cublasCreate"));
  Status status = Check(cublas, kernel, cublas.api.set_stream(handle, CudaStream()), "cublasSetStream");
  if (status.ok()) status = CudaAllocate(kWorkspaceBytes, &workspace);
  // After the stream: setting that takes the workspace away.
  if (status.ok())
    status = Check(cublas, kernel, cublas.api.set_workspace(handle, workspace, kWorkspaceBytes), "cublasSetWorkspace");
  if (status.ok()) status = Check(cublas, kernel, cublas.api.set_math_mode(handle, kMathMode), "cublasSetMathMode");
  if (status.ok()) {
    cublas.handle = handle;
    return status;
  }
  if (workspace) CudaRelease(workspace);
  cublas.api.destroy(handle);
  return status;
}

}  // namespace

Status StartCublas() {
  PRL_RETURN_IF_ERROR(CudaUse());
  Cublas& cublas = TheCublas();
  const std::lock_guard<std::mutex> lock(cublas.mutex);
  return Start(cublas, "initCuda");
}

Status FindCublas(CublasLibrary* library) {
  Cublas& cublas = TheCublas();
  const std::lock_guard<std::mutex> lock(cublas.mutex);
  PRL_RETURN_IF_ERROR(Find(cublas));
  int version[3] = {0, 0, 0};
  for (int which = 0; which < 3; ++which) cublas.api.get_property(which, &version[which]);
  snprintf(library->path, sizeof library->path, "%s", cublas.api.path.c_str());
  snprintf(library->version, sizeof library->version, "%d.%d.%d", version[0], version[1], version[2]);
  return Ok();
}

Status GemmCuda(const char* kernel, const CudaGemmArgs& g) {
  if (g.m == 0 || g.n == 0) return Ok();
  for (const int64_t size : {g.m, g.n, g.k, g.a_row, g.b_row, g.c_row}) {
    if (size > INT32_MAX)
      return Error(Code::kOutOfRange, "%s: a matrix of %lld rows or columns is more than cuBLAS takes", kernel,
                   (long long)size);
  }
  PRL_RETURN_IF_ERROR(CudaUse());
  Cublas& cublas = TheCublas();
  const std::lock_guard<std::mutex> lock(cublas.mutex);
  PRL_RETURN_IF_ERROR(Start(cublas, kernel));
  const float one = 1.0f, beta = g.accumulate ? 1.0f : 0.0f;
  // 0 is no row length, even of nothing
  const auto row = [](int64_t elements) { return (int)(elements > 0 ? elements : 1); };
  // A row-major matrix is, column by column, its transpose: C^T = B^T A^T.
  const int status =
      cublas.api.gemm_ex(cublas.handle, g.transpose_b ? kOpT : kOpN, g.transpose_a ? kOpT : kOpN, (int)g.n, (int)g.m,
                         (int)g.k, &one, g.b, TypeNumber(g.type), row(g.b_row), g.a, TypeNumber(g.type), row(g.a_row),
                         &beta, g.c, TypeNumber(g.c_type), row(g.c_row), kCompute32F, kAlgorithmDefault);
  if (status == 0) return Ok();
  char what[96];
  snprintf(what, sizeof what, "cublasGemmEx of %lld x %lld x %lld, %s to %s", (long long)g.m, (long long)g.n,
           (long long)g.k, NameOf(g.type), NameOf(g.c_type));
  return Check(cublas, kernel, status, what);
}

}  // namespace prl
