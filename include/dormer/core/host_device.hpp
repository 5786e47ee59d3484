#pragma once

/// Marks arithmetic that host loops and GPU launches share. Vanishes without a GPU compiler.
#if defined(__CUDACC__)
#define DORMER_HOST_DEVICE __host__ __device__
#else
#define DORMER_HOST_DEVICE
#endif
