#!/usr/bin/env bash
# mpirun.sh N PROGRAM [ARGS…]: starts N ranks on this machine, as root or not, on fewer cores than ranks, with Open MPI 4 or 5.
set -euo pipefail
ranks=$1
shift
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 PRTE_ALLOW_RUN_AS_ROOT=1 PRTE_ALLOW_RUN_AS_ROOT_CONFIRM=1
if [[ $(mpirun --version 2>/dev/null) =~ \(Open\ MPI\)\ ([5-9]|[1-9][0-9])\. ]]; then
  # Open MPI 5 tries to pair TCP interfaces even on one machine and warns about it.
  export OMPI_MCA_btl=${OMPI_MCA_btl:-self,sm}
fi
# Under AddressSanitizer: whole stacks of allocations, so that MPI's own leaks are known by the library (cmake/sanitizer_defaults.cpp);
# and no search in thread-local memory, where GCC 12's leak checker stumbles over the plugins that MPI has unloaded. Whole stacks
# take most of the time: long tests, whose code others search for leaks, set DORMER_TEST_LEAKS=no.
if [ "${DORMER_TEST_LEAKS:-}" = no ]; then
  export ASAN_OPTIONS=detect_leaks=0${ASAN_OPTIONS:+:$ASAN_OPTIONS}
else
  export ASAN_OPTIONS=fast_unwind_on_malloc=0${ASAN_OPTIONS:+:$ASAN_OPTIONS} LSAN_OPTIONS=use_tls=0${LSAN_OPTIONS:+:$LSAN_OPTIONS}
fi
# Ranks that share a core must give it away while they wait. --timeout ends a job that hangs, with exit code 110.
exec mpirun -np "$ranks" --map-by slot:OVERSUBSCRIBE --bind-to none --mca mpi_yield_when_idle 1 \
  --timeout "${DORMER_TEST_TIMEOUT:-300}" "$@"
