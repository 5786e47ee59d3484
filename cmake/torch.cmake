# LibTorch as two imported targets of our own: its find_package demands a CUDA toolkit that a build for CPUs does not need.
if(NOT DORMER_TORCH)
  find_program(DORMER_PYTHON NAMES python3 PATHS ${CMAKE_SOURCE_DIR}/.venv/bin NO_DEFAULT_PATH)
  if(NOT DORMER_PYTHON)
    find_program(DORMER_PYTHON NAMES python3)
  endif()
  execute_process(COMMAND ${DORMER_PYTHON} -c "import importlib.util, os; print(os.path.dirname(importlib.util.find_spec('torch').origin))"
    OUTPUT_VARIABLE DORMER_TORCH_FOUND OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  if(NOT DORMER_TORCH_FOUND)
    message(FATAL_ERROR "LibTorch not found. Run launch/setup.sh, or pass -DDORMER_TORCH=/path/to/libtorch (the folder that holds include/ and lib/).")
  endif()
  set(DORMER_TORCH ${DORMER_TORCH_FOUND} CACHE PATH "" FORCE)
endif()
if(NOT EXISTS ${DORMER_TORCH}/lib/libtorch_cpu.so)
  message(FATAL_ERROR "No LibTorch in ${DORMER_TORCH}: lib/libtorch_cpu.so is missing. Pass -DDORMER_TORCH=/path/to/libtorch.")
endif()
message(STATUS "LibTorch: ${DORMER_TORCH}")

add_library(dormer_torch_core SHARED IMPORTED)
set_target_properties(dormer_torch_core PROPERTIES IMPORTED_LOCATION ${DORMER_TORCH}/lib/libc10.so)
add_library(dormer_torch SHARED IMPORTED)
set_target_properties(dormer_torch PROPERTIES
  IMPORTED_LOCATION ${DORMER_TORCH}/lib/libtorch_cpu.so
  INTERFACE_INCLUDE_DIRECTORIES "${DORMER_TORCH}/include;${DORMER_TORCH}/include/torch/csrc/api/include"
  INTERFACE_COMPILE_DEFINITIONS "AT_PER_OPERATOR_HEADERS"
  INTERFACE_LINK_LIBRARIES dormer_torch_core)
