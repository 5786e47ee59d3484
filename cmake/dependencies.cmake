# Third-party libraries below LibTorch. We look for libraries, not packages: modules, Spack and conda prefixes work through CMAKE_PREFIX_PATH.
find_package(Threads REQUIRED)
find_package(fmt REQUIRED)
find_package(yaml-cpp REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(HDF5 REQUIRED COMPONENTS C)
find_package(CLI11 REQUIRED)
find_package(MPI COMPONENTS CXX)
find_path(XXHASH_INCLUDE_DIR xxhash.h REQUIRED)
find_path(UTF8PROC_INCLUDE_DIR utf8proc.h REQUIRED)
find_library(UTF8PROC_LIBRARY utf8proc REQUIRED)

# LibTorch's wheel brings the headers of another fmt than the library that is linked: ours must be found first, through a folder that holds
# nothing else (/usr/include itself cannot be moved forward). Compiling fmt into every file costs seconds each, so only a static library,
# which need not fit into libdormer.so, is left for the headers alone.
get_target_property(DORMER_FMT_TYPE fmt::fmt TYPE)
get_target_property(DORMER_FMT_PREFIX fmt::fmt INTERFACE_INCLUDE_DIRECTORIES)
find_path(DORMER_FMT_INCLUDE_DIR fmt/format.h HINTS ${DORMER_FMT_PREFIX} REQUIRED NO_DEFAULT_PATH)
file(MAKE_DIRECTORY ${CMAKE_BINARY_DIR}/headers)
file(CREATE_LINK ${DORMER_FMT_INCLUDE_DIR}/fmt ${CMAKE_BINARY_DIR}/headers/fmt SYMBOLIC)
add_library(dormer_fmt INTERFACE)
target_include_directories(dormer_fmt SYSTEM INTERFACE ${CMAKE_BINARY_DIR}/headers)
if(DORMER_FMT_TYPE STREQUAL SHARED_LIBRARY)
  target_link_libraries(dormer_fmt INTERFACE fmt::fmt)
else()
  target_link_libraries(dormer_fmt INTERFACE fmt::fmt-header-only)
endif()

add_library(dormer_yaml INTERFACE)
if(TARGET yaml-cpp::yaml-cpp)
  target_link_libraries(dormer_yaml INTERFACE yaml-cpp::yaml-cpp)
else()
  target_link_libraries(dormer_yaml INTERFACE yaml-cpp)
endif()

add_library(dormer_hdf5 INTERFACE)
target_include_directories(dormer_hdf5 SYSTEM INTERFACE ${HDF5_C_INCLUDE_DIRS})
target_link_libraries(dormer_hdf5 INTERFACE ${HDF5_C_LIBRARIES})

add_library(dormer_xxhash INTERFACE)
target_include_directories(dormer_xxhash SYSTEM INTERFACE ${XXHASH_INCLUDE_DIR})
target_compile_definitions(dormer_xxhash INTERFACE XXH_INLINE_ALL)

add_library(dormer_utf8proc INTERFACE)
target_include_directories(dormer_utf8proc SYSTEM INTERFACE ${UTF8PROC_INCLUDE_DIR})
target_link_libraries(dormer_utf8proc INTERFACE ${UTF8PROC_LIBRARY})

add_library(dormer_json INTERFACE)
target_link_libraries(dormer_json INTERFACE nlohmann_json::nlohmann_json)
add_library(dormer_cli11 INTERFACE)
target_link_libraries(dormer_cli11 INTERFACE CLI11::CLI11)
