# Finds an installed torch and makes the imported target weft_torch::torch (plus weft_torch::cuda where torch has CUDA).
# Used by Weft's own build and, installed beside weftConfig.cmake, by its users.
#
# Not find_package(Torch): that of a CUDA wheel fails to configure on a machine without the CUDA toolkit.
#
# In:  TORCH_DIR (the folder that holds torch's include/ and lib/), else Torch_DIR, else the first Python of
#      WEFT_PYTHON, Python3_EXECUTABLE, $VIRTUAL_ENV, PATH that has torch.
# Out: WEFT_TORCH_ROOT, WEFT_TORCH_VERSION (2.15.0+cu132), WEFT_TORCH_BASE_VERSION (2.15.0).

function(weft_ask_python python out)
  # find_spec does not import torch: that would take seconds.
  execute_process(
    COMMAND ${python} -c
            "import importlib.util as u; s = u.find_spec('torch'); print(s.submodule_search_locations[0] if s else '')"
    OUTPUT_VARIABLE folder OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE failed)
  if(failed)
    set(folder "")
  endif()
  set(${out} "${folder}" PARENT_SCOPE)
endfunction()

function(weft_locate_torch out)
  if(TORCH_DIR)
    set(${out} "${TORCH_DIR}" PARENT_SCOPE)
    return()
  endif()
  foreach(dir IN ITEMS "${Torch_DIR}" "${torch_DIR}")  # <torch>/share/cmake/Torch, or the torch folder itself
    if(dir)
      if(NOT EXISTS "${dir}/include/torch/library.h")
        get_filename_component(dir "${dir}/../../.." ABSOLUTE)
      endif()
      set(${out} "${dir}" PARENT_SCOPE)
      return()
    endif()
  endforeach()
  set(pythons "${WEFT_PYTHON}" "${Python3_EXECUTABLE}")
  if(DEFINED ENV{VIRTUAL_ENV})
    list(APPEND pythons "$ENV{VIRTUAL_ENV}/bin/python")
  endif()
  list(APPEND pythons python3)
  foreach(python IN LISTS pythons)
    if(python)
      weft_ask_python("${python}" folder)
      if(folder)
        set(${out} "${folder}" PARENT_SCOPE)
        return()
      endif()
    endif()
  endforeach()
  set(${out} "" PARENT_SCOPE)
endfunction()

# The major version of the CUDA that torch was built for; empty where it is not said (a LibTorch archive).
function(weft_torch_cuda_major out)
  set(major "")
  if(EXISTS "${WEFT_TORCH_ROOT}/version.py")
    file(STRINGS "${WEFT_TORCH_ROOT}/version.py" line REGEX "^cuda.*'[0-9]+\\.")
    string(REGEX REPLACE ".*'([0-9]+)\\..*" "\\1" major "${line}")
  endif()
  set(${out} "${major}" PARENT_SCOPE)
endfunction()

weft_locate_torch(WEFT_TORCH_ROOT)
if(NOT WEFT_TORCH_ROOT)
  message(FATAL_ERROR "weft: no torch found. Install it into the active Python, or name one: "
                      "-DWEFT_PYTHON=<python with torch> or -DTORCH_DIR=<folder with torch's include/ and lib/>.")
endif()
if(NOT EXISTS "${WEFT_TORCH_ROOT}/include/torch/library.h")
  message(FATAL_ERROR "weft: '${WEFT_TORCH_ROOT}' is not a torch folder: it has no include/torch/library.h.")
endif()

# A wheel says its version in version.py, a LibTorch archive in build-version.
if(EXISTS "${WEFT_TORCH_ROOT}/version.py")
  file(STRINGS "${WEFT_TORCH_ROOT}/version.py" line REGEX "^__version__")
  string(REGEX REPLACE ".*'([^']+)'.*" "\\1" WEFT_TORCH_VERSION "${line}")
elseif(EXISTS "${WEFT_TORCH_ROOT}/build-version")
  file(STRINGS "${WEFT_TORCH_ROOT}/build-version" WEFT_TORCH_VERSION LIMIT_COUNT 1)
else()
  message(FATAL_ERROR "weft: '${WEFT_TORCH_ROOT}' has neither version.py nor build-version: which torch is it?")
endif()
string(REGEX MATCH "^[0-9]+\\.[0-9]+\\.[0-9]+" WEFT_TORCH_BASE_VERSION "${WEFT_TORCH_VERSION}")

if(NOT TARGET weft_torch::torch)
  foreach(name IN ITEMS c10 torch_cpu torch c10_cuda torch_cuda)
    set(file "${WEFT_TORCH_ROOT}/lib/lib${name}.so")
    if(EXISTS "${file}")
      add_library(weft_torch::lib${name} SHARED IMPORTED)
      set_target_properties(weft_torch::lib${name} PROPERTIES IMPORTED_LOCATION "${file}" IMPORTED_SONAME "lib${name}.so")
    elseif(NOT name MATCHES "cuda")
      message(FATAL_ERROR "weft: '${file}' is missing from torch ${WEFT_TORCH_VERSION}.")
    endif()
  endforeach()
  add_library(weft_torch::torch INTERFACE IMPORTED)
  set_target_properties(
    weft_torch::torch
    PROPERTIES
      INTERFACE_INCLUDE_DIRECTORIES "${WEFT_TORCH_ROOT}/include;${WEFT_TORCH_ROOT}/include/torch/csrc/api/include"
      INTERFACE_COMPILE_DEFINITIONS "_GLIBCXX_USE_CXX11_ABI=1;USE_DISTRIBUTED;USE_C10D_GLOO;USE_RPC;USE_TENSORPIPE"
      INTERFACE_COMPILE_FEATURES cxx_std_20
      # First the standard library's: torch 2.11 exports a std::filesystem of its own, which calls null.
      INTERFACE_LINK_LIBRARIES "stdc++;weft_torch::libtorch;weft_torch::libtorch_cpu;weft_torch::libc10"
      # torch's CUDA libraries bring theirs (cudart, cublas, …) along by their own run path; the linker need not look.
      INTERFACE_LINK_OPTIONS "LINKER:--allow-shlib-undefined")
  if(TARGET weft_torch::libtorch_cuda)
    add_library(weft_torch::cuda INTERFACE IMPORTED)
    set_target_properties(
      weft_torch::cuda PROPERTIES INTERFACE_COMPILE_DEFINITIONS "USE_CUDA;USE_C10D_NCCL"
                                  INTERFACE_LINK_LIBRARIES "weft_torch::libtorch_cuda;weft_torch::libc10_cuda")
  endif()
endif()
