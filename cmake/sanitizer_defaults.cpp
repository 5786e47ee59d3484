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
      "leak:libgomp\n"
      // The first backtrace() loads libgcc and keeps what the loader notes of it (the watchdog asks for one at its
      // start).
      "leak:libc_unwind_link_get\n";
}

extern "C" const char* __tsan_default_options() {
  // Calls of libraries that were built without the sanitizer would be judged without what orders them.
  return "ignore_noninstrumented_modules=1:second_deadlock_stack=1:print_suppressions=0";
}

extern "C" const char* __tsan_default_suppressions() {
  return
      // What these order among their own threads, by locks and atomics that the sanitizer cannot see, looks like a race
      // where they call back into our code or free what we allocated.
      "called_from_lib:libmpi.so\n"
      "called_from_lib:libopen-pal.so\n"
      "called_from_lib:libopen-rte.so\n"
      "called_from_lib:libpmix.so\n"
      "called_from_lib:libtorch_cpu.so\n"
      "called_from_lib:libc10.so\n"
      "called_from_lib:libgomp\n";
}
// NOLINTEND(bugprone-reserved-identifier)
