#pragma once
// All of Weft's C++ API.
#include <weft/checkpoint.h>
#include <weft/cost.h>
#include <weft/distributed.h>
#include <weft/errors.h>
#include <weft/layout.h>
#include <weft/layout_map.h>
#include <weft/mesh.h>
#include <weft/module.h>
#include <weft/print.h>
#include <weft/rules.h>
#include <weft/switches.h>
#include <weft/tensor.h>
#include <weft/trace.h>
