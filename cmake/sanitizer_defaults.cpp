// What the sanitizers (the presets dev and tsan) ask of the programs and which findings in other people's libraries
// they pass over. Compiled into every program of a sanitized build, so that it also holds under mpirun and from Python.
// No finding in our own code is passed over.

// NOLINTBEGIN(bugprone-reserved-identifier): the sanitizers' runtimes look for these names.
extern "C" const char* __asan_default_options() {
  return "strict_string_checks=1:detect_stack_use_after_return=1:check_initialization_order=1";
}

extern "C" const char* __ubsan_default_options() {
  return "print_stacktrace=1";
}

extern "C" const char* __lsan_default_options() {
  return "print_suppressions=0";
}

extern "C" const char* __lsan_default_suppressions() {
  return
      // Open MPI 4 and 5 with their helpers keep what they allocated at start until the process ends.
      "leak:libmpi.so\n"
      "leak:libopen-pal.so\n"
      "leak:libopen-rte.so\n"
      "leak:libpmix.so\n"
      "leak:libhwloc.so\n"
      "leak:libevent\n"
      // HDF5 1.10 loses a property list when it meets a damaged file.
      "leak:libhdf5\n"
      // LibTorch keeps thread pools and registries alive on purpose.
      "leak:libtorch_cpu.so\n"
      "leak:libc10.so\n"
      "leak:libgomp\n";
}
// NOLINTEND(bugprone-reserved-identifier)
