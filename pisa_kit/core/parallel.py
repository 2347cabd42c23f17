"""Jobs in several processes, here or on a cluster. Free of torch, which a simulating worker need not load."""

import os
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext

from joblib import Parallel, delayed, parallel_config
from joblib.parallel import get_active_backend

from pisa_kit.core.errors import InputError, first_line
from pisa_kit.core.progress import Bar

WORKERS = 2  # unless PISA_WORKERS says otherwise
warnings.filterwarnings("ignore", "A worker stopped while some jobs")  # one that has grown is replaced, nothing is lost
PACKAGES = {"dask": "distributed", "ray": "ray"}  # kind of cluster: what it needs


@contextmanager
def on_cluster(address: str | None) -> Iterator[None]:
    """Inside, joblib's jobs (simulation, tracking, scoring) run on a Dask or Ray cluster, by these engines' own means.

    The machines need this environment and the same folders. Dask's workers must have one thread each
    (`dask worker --nthreads 1`): the simulator's pictures do not survive threads.

    Args:
        address: "dask://HOST:PORT" of a scheduler, "ray://HOST:PORT", "ray" for a local one; None: plain processes.

    Raises:
        InputError: another kind of address, an engine that is not installed, or a cluster that does not answer.
    """
    if address is None:
        yield
        return
    kind, _, place = address.partition("://")
    if kind not in PACKAGES:
        raise InputError("arguments", "cluster", f"is {address!r}", "Give dask://HOST:PORT, ray://HOST:PORT or ray.")
    try:
        client = _connect(kind, place)
    except (ImportError, OSError, TimeoutError) as error:
        problem, remedy = f"{address} does not answer ({first_line(error)})", "Start it first, and give its address."
        if isinstance(error, ImportError):
            problem, remedy = f"needs {PACKAGES[kind]}", f"pip install {PACKAGES[kind]}"
        raise InputError("arguments", "cluster", problem, remedy) from error
    with client, parallel_config(kind):
        yield


def _connect(kind: str, place: str):
    """A context in which the cluster is connected."""
    if kind == "dask":
        from distributed import Client

        return Client(place, timeout=20)
    import ray
    from ray.util.joblib import register_ray

    ray.init(address=f"ray://{place}" if place else None, ignore_reinit_error=True)
    register_ray()
    return nullcontext()


def results_of(jobs: Iterable, workers: int, **options) -> Iterable:
    """Results of `joblib.delayed` jobs in their order: one by one as they come, with Ray all at the end.

    In a worker one after another: joblib would take threads there, and the simulator's pictures do not survive them.
    """
    backend = get_active_backend()[0]
    workers = 1 if getattr(backend, "uses_threads", False) else workers
    one_by_one = backend.supports_return_generator
    return Parallel(n_jobs=workers, return_as="generator" if one_by_one else "list", **options)(jobs)


def processes() -> int:
    """How many work at a time.

    Raises:
        InputError: PISA_WORKERS is no number above 0.
    """
    asked = os.environ.get("PISA_WORKERS", str(WORKERS))
    if not asked.isdecimal() or int(asked) < 1:
        raise InputError("environment", "PISA_WORKERS", f"is {asked!r}", "Give a number of processes, 1 or more.")
    return int(asked)


def run_jobs(function: Callable, jobs: Iterable[tuple], label: str, workers: int | None = None) -> list:
    """`function(*job)` for every job, in the order of the jobs; a worker uses one thread and shows no bars.

    Args:
        label: of the progress bar.
        workers: processes; 1, or a single job: this one; None: `processes`, but with a GPU 1 unless PISA_WORKERS says
            more, because each would hold its own copy of the models there.
    """
    jobs = list(jobs)
    torch = sys.modules.get("torch")  # models are at work where it is loaded
    alone = "PISA_WORKERS" not in os.environ and torch is not None and torch.cuda.is_available()
    workers = max(1, min(workers or (1 if alone else processes()), len(jobs)))
    results = results_of((delayed(function)(*job) for job in jobs), workers, initializer=_silence)
    return list(Bar(results, total=len(jobs), desc=label, unit="job", disable=not jobs))


def _silence():
    """Errors still reach the caller: joblib hands them on."""
    os.environ["OMP_NUM_THREADS"] = "1"
    sys.stderr = open(os.devnull, "w")
