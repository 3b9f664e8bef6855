#pragma once
#include "../collectives.h"
