// One term of quantile_loss, one for host and device.
#pragma once

#include "runtime/hd.h"

namespace prl {

PRL_HD double Pinball(double q, double e) { return e < 0.0 ? (q - 1.0) * e : q * e; }

// d Pinball(q, target - value) / d value.
PRL_HD double PinballGradient(double q, double e) { return (e < 0.0 ? 1.0 : e > 0.0 ? 0.0 : 0.5) - q; }

}  // namespace prl
