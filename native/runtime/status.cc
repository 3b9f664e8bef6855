#include "runtime/status.h"

#include <cstdarg>
#include <cstdio>

namespace prl {

Status Error(Code code, const char* format, ...) {
  Status status;
  status.code = code;
  va_list args;
  va_start(args, format);
  vsnprintf(status.message, sizeof status.message, format, args);
  va_end(args);
  return status;
}

}  // namespace prl
