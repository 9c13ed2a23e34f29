"""The machine under prefd: files, mounts, processes, threads, memory, CPUs and their BLAS."""
