#pragma once
// See ../algorithm.h. ProcessGroupGloo.hpp includes this, but names nothing of it.
