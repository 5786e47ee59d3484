# Third-party libraries below LibTorch. We look for libraries, not packages: modules, Spack and conda prefixes work through CMAKE_PREFIX_PATH.
find_package(Threads REQUIRED)
find_package(fmt REQUIRED)
find_package(yaml-cpp REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(HDF5 REQUIRED COMPONENTS C)
find_package(CLI11 REQUIRED)
find_package(MPI COMPONENTS CXX)
find_path(XXHASH_INCLUDE_DIR xxhash.h REQUIRED)

# LibTorch's wheel brings the headers of another fmt than the system's library; header-only fmt links nothing and cannot clash.
add_library(dormer_fmt INTERFACE)
target_link_libraries(dormer_fmt INTERFACE fmt::fmt-header-only)

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

add_library(dormer_json INTERFACE)
target_link_libraries(dormer_json INTERFACE nlohmann_json::nlohmann_json)
add_library(dormer_cli11 INTERFACE)
target_link_libraries(dormer_cli11 INTERFACE CLI11::CLI11)
