# Tests written in Python run in .venv, as one CTest test per call:
#
#   dormer_pytest(NAME [LABEL peers] FILES a_test.py … [NEEDS package …] [SERIAL] [NO_LEAK_SEARCH])
#     NO_LEAK_SEARCH: its runs have several ranks, whose code other tests search for leaks, without the leaks of MPI.
#     Writes its cases to reports/NAME.xml in the build folder, where launch/test.sh counts them. Python may use $DORMER_PROGRAM.
find_program(DORMER_TEST_PYTHON NAMES python3 PATHS ${CMAKE_SOURCE_DIR}/.venv/bin NO_DEFAULT_PATH)
if(DORMER_TEST_PYTHON)
  execute_process(COMMAND ${DORMER_TEST_PYTHON} -c "import pytest, h5py, tokenizers" RESULT_VARIABLE DORMER_PYTEST_MISSING ERROR_QUIET)
else()
  set(DORMER_PYTEST_MISSING 1)
endif()
if(NOT DORMER_PYTEST_MISSING EQUAL 0)
  message(STATUS "No pytest in .venv: the tests in Python are not registered (launch/setup.sh --tests brings it)")
endif()

function(dormer_pytest name)
  cmake_parse_arguments(P "SERIAL;NO_LEAK_SEARCH" "LABEL" "FILES;NEEDS" ${ARGN})
  if(NOT DORMER_PYTEST_MISSING EQUAL 0)
    return()
  endif()
  foreach(package ${P_NEEDS})
    execute_process(COMMAND ${DORMER_TEST_PYTHON} -c "import importlib.util, sys; sys.exit(importlib.util.find_spec('${package}') is None)"
      RESULT_VARIABLE missing OUTPUT_QUIET ERROR_QUIET)
    if(missing)
      message(STATUS "No ${package} in .venv: ${name} is not registered")
      return()
    endif()
  endforeach()
  if(NOT P_LABEL)
    set(P_LABEL peers)
  endif()
  list(TRANSFORM P_FILES PREPEND ${CMAKE_CURRENT_SOURCE_DIR}/)
  add_test(NAME ${name} COMMAND ${DORMER_TEST_PYTHON} -m pytest -q -p no:cacheprovider
    --junitxml=${CMAKE_BINARY_DIR}/reports/${name}.xml ${P_FILES})
  set_tests_properties(${name} PROPERTIES LABELS ${P_LABEL} ENVIRONMENT
    "DORMER_PROGRAM=${CMAKE_BINARY_DIR}/bin/dormer;DORMER_BUILD=${CMAKE_BINARY_DIR};HF_HUB_OFFLINE=1;PYTHONDONTWRITEBYTECODE=1")
  if(P_SERIAL)
    set_tests_properties(${name} PROPERTIES RUN_SERIAL ON)
  endif()
  if(P_NO_LEAK_SEARCH AND DORMER_SANITIZE MATCHES "address")
    set_tests_properties(${name} PROPERTIES ENVIRONMENT_MODIFICATION "DORMER_TEST_LEAKS=set:no;ASAN_OPTIONS=set:detect_leaks=0")
  endif()
endfunction()
