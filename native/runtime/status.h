// What every kernel returns. A plain struct with its message inside, so that the per-ISA sources need no STL and a
// failed call allocates nothing. A function that returns a failure has left its outputs untouched unless its contract
// says otherwise.
#pragma once

#include <cstdint>

namespace prl {

// Each value becomes a stable `code` of a JavaScript error (binding/errors.cc); add, never renumber.
enum class Code : int32_t {
  kOk = 0,
  kInvalidArgument,  // wrong kind of thing: TypeError
  kOutOfRange,       // right kind, wrong value: RangeError
  kNonFinite,        // NaN or infinity where a finite number is needed
  kUnsupported,      // legal, but not available in this build or on this device
  kOutOfMemory,
  kAborted,   // the caller asked to stop
  kDisposed,  // a tensor or policy was used after dispose()
  kBusy,      // the object is in use by a call that has not ended
  kCuda,
  kInternal,
  kIo,
  kCorrupt,  // a file does not hold what it should
};

struct Status {
  Code code = Code::kOk;
  char message[252] = {0};
  bool ok() const { return code == Code::kOk; }
};

inline Status Ok() { return Status{}; }
// printf-style; a message longer than the buffer is cut.
Status Error(Code code, const char* format, ...) __attribute__((format(printf, 2, 3)));

}  // namespace prl

#define PRL_RETURN_IF_ERROR(expression)             \
  do {                                              \
    const ::prl::Status prl_status_ = (expression); \
    if (!prl_status_.ok()) return prl_status_;      \
  } while (0)
