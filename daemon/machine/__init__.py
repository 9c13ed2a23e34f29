"""The modules here deal with the machine: files, mounts, processes, threads, memory, CPUs and their BLAS."""
