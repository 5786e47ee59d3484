-- A module file of Lmod: copy it to MODULEPATH/dormer/VERSION.lua and change the first three lines. docs/clusters.md tells more.
local root = "/shared/software/dormer-bundle"  -- an unpacked bundle, or build/release of a source tree
local torch = "/shared/software/pytorch/lib/python3.11/site-packages/torch"  -- LibTorch for a bundle: the folder that holds lib/
local mpi = "openmpi"  -- the module of the MPI that cluster/rebuild_mpi.sh took, or that the tree was built with

help("dormer trains DoRA and LoRA adapters of large models. `dormer --help` lists its commands.")
whatis("Name: dormer")
whatis("Version: " .. myModuleVersion())
whatis("Description: fine-tuning of large models with DoRA and LoRA adapters, on GPUs and MPI ranks")

depends_on(mpi)
prepend_path("PATH", pathJoin(root, "bin"))
setenv("DORMER_PROGRAM", pathJoin(root, "bin", "dormer"))  -- for cluster/slurm/train.sbatch, on every node
setenv("DORMER_TORCH", torch)
