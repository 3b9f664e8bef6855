#pragma once

#include "device.h"

struct __half_raw {
  unsigned short x;
};
struct alignas(4) __half2_raw {
  unsigned short x, y;
};
struct __half {
  unsigned short __x;
  __half() = default;
  __half(__half_raw raw) : __x(raw.x) {}
  __half(float value) { __x = prl_emulator::Bits<unsigned short>((_Float16)value); }
  operator __half_raw() const { return {__x}; }
  operator float() const { return (float)prl_emulator::Bits<_Float16>(__x); }
};
struct alignas(4) __half2 {
  __half x, y;
  operator __half2_raw() const { return {x.__x, y.__x}; }
};
typedef __half half;
typedef __half2 half2;

inline __half __float2half(float x) { return __half(x); }
inline __half __float2half_rn(float x) { return __half(x); }
inline float __half2float(__half x) { return x; }
inline __half2 __floats2half2_rn(float x, float y) { return {__half(x), __half(y)}; }
inline __half2 __float22half2_rn(float2 v) { return {__half(v.x), __half(v.y)}; }
inline float2 __half22float2(__half2 v) { return {v.x, v.y}; }
inline float __low2float(__half2 v) { return v.x; }
inline float __high2float(__half2 v) { return v.y; }
inline __half __ushort_as_half(unsigned short bits) { return prl_emulator::Bits<__half>(bits); }
inline unsigned short __half_as_ushort(__half x) { return x.__x; }
