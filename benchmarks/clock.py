"""The clock of the benchmarks of training: the wall's, or with BENCH_CLOCK=cpu the process' own, for ratios on a machine that others use."""

import os
import time

now = time.process_time if os.environ.get("BENCH_CLOCK") == "cpu" else time.perf_counter
