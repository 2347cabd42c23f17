"""Jobs in several processes behind one progress bar."""

import os
import sys
from collections.abc import Callable, Iterable

from joblib import Parallel, delayed
from joblib.externals.loky import get_reusable_executor
from tqdm.auto import tqdm

WORKERS = 2


def run_jobs(function: Callable, jobs: Iterable[tuple], label: str, workers: int = WORKERS) -> list:
    """`function(*job)` for every job, in the order of the jobs; a worker uses one thread and shows no bars."""
    get_reusable_executor().shutdown()  # earlier workers would be used again, with their bars
    jobs = list(jobs)
    results = Parallel(n_jobs=workers, return_as="generator", initializer=_silence)(delayed(function)(*j) for j in jobs)
    return list(tqdm(results, total=len(jobs), desc=label, unit="job", disable=not jobs))


def _silence():
    """Errors still reach the caller: joblib hands them on."""
    os.environ["OMP_NUM_THREADS"] = "1"
    sys.stderr = open(os.devnull, "w")
