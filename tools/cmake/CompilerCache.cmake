# Compilers run through ccache where it is installed. It takes a result for the same compiler, flags and text alone, checks
# what it has stored, and is bounded in size (5 GB, `ccache -M`).
find_program(WEFT_CCACHE ccache)
if(WEFT_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  # A precompiled header records when its files were made: look past that.
  set(settings CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime)
  # Another clone of the same sources has the same results: paths inside the tree count from the build folder, and from
  # the tree in __FILE__.
  list(APPEND settings CCACHE_BASEDIR=${PROJECT_SOURCE_DIR} CCACHE_NOHASHDIR=1)
  add_compile_options("$<$<COMPILE_LANG_AND_ID:CXX,GNU,Clang>:-fmacro-prefix-map=${PROJECT_SOURCE_DIR}/=>")
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env ${settings} sh ${CMAKE_CURRENT_LIST_DIR}/compile_cached.sh
                                  ${WEFT_CCACHE})
  set(CMAKE_CUDA_COMPILER_LAUNCHER ${CMAKE_CXX_COMPILER_LAUNCHER})
endif()

# A library may lie inside one clone and outside of another: each build names its headers by a link in its own folder.
#   weft_link_headers(TARGET FOLDER): TARGET is imported, FOLDER holds its include directories.
function(weft_link_headers target folder)
  if(WEFT_CCACHE)
    cmake_path(GET folder FILENAME name)
    # Short, as ccache takes the shorter of two relative paths; not the library's own name, since Python that is started
    # in the build folder would import it.
    set(link ${PROJECT_BINARY_DIR}/_${name})
    file(CREATE_LINK "${folder}" "${link}" SYMBOLIC)
    get_target_property(headers ${target} INTERFACE_INCLUDE_DIRECTORIES)
    string(REPLACE "${folder}/" "${link}/" headers "${headers}")
    set_target_properties(${target} PROPERTIES INTERFACE_INCLUDE_DIRECTORIES "${headers}")
  endif()
endfunction()
