# Warnings, sanitizers, linker and compiler cache: one interface target that every room links.
add_library(dormer_compiler INTERFACE)
target_compile_options(dormer_compiler INTERFACE -Wall -Wextra -Wconversion -Wshadow -Wnon-virtual-dtor -Wno-unknown-pragmas
  # The bits of an update must not depend on how a loop was vectorized: no fused multiply-add unless it is written.
  -ffp-contract=off
  # GCC 12 takes "text" + string for an overlapping copy (its bug 105651).
  $<$<AND:$<CXX_COMPILER_ID:GNU>,$<VERSION_LESS:$<CXX_COMPILER_VERSION>,13>>:-Wno-restrict>)
if(DORMER_WERROR)
  target_compile_options(dormer_compiler INTERFACE -Werror)
endif()
if(DORMER_SANITIZE)
  target_compile_options(dormer_compiler INTERFACE -fsanitize=${DORMER_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=undefined)
  # Libraries are loaded by the sanitizer's run-time then, which the older kind of run path alone serves.
  target_link_options(dormer_compiler INTERFACE -fsanitize=${DORMER_SANITIZE} -Wl,--disable-new-dtags)
  target_compile_definitions(dormer_compiler INTERFACE DORMER_SANITIZED)
endif()

# For rooms that read and write text or put together what other rooms compute: optimizing CLI11's, nlohmann's and fmt's templates costs a third of
# their compile time and gives them nothing that anybody could measure. Tests, whose subject is in libdormer.so as it is shipped, not at all: a
# fifth of their compile time.
set(DORMER_TEXT_OPTIONS $<$<CONFIG:Release>:-O1>)
set(DORMER_TEST_OPTIONS $<$<CONFIG:Release>:-O0>)

# Every program of a sanitized build carries its options and suppressions with it.
function(dormer_sanitizer_defaults program)
  if(DORMER_SANITIZE)
    target_sources(${program} PRIVATE ${CMAKE_SOURCE_DIR}/cmake/sanitizer_defaults.cpp)
  endif()
endfunction()

find_program(DORMER_CCACHE ccache)
if(DORMER_CCACHE)
  # What a precompiled header defines cannot be seen in what it precedes: ccache asks to be told that nobody minds.
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env CCACHE_SLOPPINESS=pch_defines,time_macros ${DORMER_CCACHE})
endif()
find_program(DORMER_MOLD mold)
if(DORMER_MOLD)
  add_link_options(-fuse-ld=mold)
endif()
