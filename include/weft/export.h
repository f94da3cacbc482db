#pragma once
// Everything is hidden in the library but what carries WEFT_API.
#define WEFT_API __attribute__((visibility("default")))
