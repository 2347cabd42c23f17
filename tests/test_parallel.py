"""Jobs in worker processes: results in order, no bars of their own, errors handed on; the same on a cluster.

Workers import this module, so it imports little itself.
"""

import os
import subprocess
import sys
import time

import psutil
import pytest

from pisa_kit.core.errors import InputError
from pisa_kit.core.parallel import on_cluster, run_jobs


def job(number: int) -> int:
    from tqdm import tqdm

    if number < 0:
        raise ValueError("negative")
    return sum(1 for _ in tqdm(range(number), desc="inner", disable=False))


def test_results_are_in_order_and_only_the_outer_bar_shows(capfd):
    assert run_jobs(job, [(3,), (1,), (2,)], "outer") == [3, 1, 2]
    shown = capfd.readouterr().err
    assert "outer" in shown and "inner" not in shown


def test_the_environment_says_how_many_work(monkeypatch):
    monkeypatch.setenv("PISA_WORKERS", "1")
    assert run_jobs(os.getpid, [(), ()], "outer") == 2 * [os.getpid()]
    monkeypatch.setenv("PISA_WORKERS", "3")
    assert os.getpid() not in run_jobs(os.getpid, [(), ()], "outer")
    assert run_jobs(os.getpid, [()], "outer") == [os.getpid()], "for a single job no process is started"
    monkeypatch.setenv("PISA_WORKERS", "many")
    with pytest.raises(InputError, match="PISA_WORKERS.*many.*1 or more"):
        run_jobs(os.getpid, [()], "outer")


def drawn_inside(first: int) -> tuple[set[str], list]:
    """Threads and pictures of jobs that a job asks for."""
    import threading

    from pisa_kit.sim.scenes import sample
    from pisa_kit.sim.simulate import simulate

    def draw(seed):
        return threading.current_thread().name, simulate(sample(seed), 32, 3, 16).frames.tobytes()

    names, pictures = zip(*run_jobs(draw, [(first + seed,) for seed in range(3)], "inner", workers=2), strict=True)
    return set(names), pictures


def test_jobs_inside_a_job_draw_in_its_own_thread():
    jobs = [(0,), (10,)]
    for job, (threads, pictures) in zip(jobs, run_jobs(drawn_inside, jobs, "outer", workers=2), strict=True):
        assert threads == {"MainThread"} and pictures == drawn_inside(*job)[1]


def test_an_error_in_a_worker_reaches_the_caller():
    with pytest.raises(ValueError, match="negative"):
        run_jobs(job, [(1,), (-1,)], "outer")


def test_a_cluster_simulates_and_scores_the_same_bytes_as_local_processes(tmp_path):
    from distributed import LocalCluster
    from test_cli import pisa, save_pairs

    pairs = save_pairs(tmp_path, broken=False)
    recipe = ("--count", 3, "--size", 32, "--frames", 5)
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        address = cluster.scheduler_address.replace("tcp", "dask")
        for place, options in {
            "here": ("--workers", 1),
            "two": ("--workers", 2),
            "far": ("--cluster", address),
        }.items():
            for command in (("simulate", place, *recipe), ("score", pairs, "-o", f"{place}.jsonl")):
                done = pisa(*command, *options, folder=tmp_path)
                assert done.returncode == 0, done.stderr
    for place in ("two", "far"):
        assert (tmp_path / f"{place}.jsonl").read_bytes() == (tmp_path / "here.jsonl").read_bytes()
        for path in (tmp_path / "here").glob("*.npz"):
            assert (tmp_path / place / path.name).read_bytes() == path.read_bytes()


def test_ray_simulates_and_scores_the_same_bytes_as_local_processes(tmp_path):
    pytest.importorskip("ray", reason="Ray is not part of the default install")
    from test_cli import pisa, save_pairs

    pairs = save_pairs(tmp_path, broken=False)
    for place, options in {"here": ("--workers", 1), "far": ("--cluster", "ray")}.items():
        for command in (
            ("simulate", place, "--count", 3, "--size", 32, "--frames", 5),
            ("score", pairs, "-o", f"{place}.jsonl"),
        ):
            done = pisa(*command, *options, folder=tmp_path)
            assert done.returncode == 0, done.stderr
    assert (tmp_path / "far.jsonl").read_bytes() == (tmp_path / "here.jsonl").read_bytes()
    for path in (tmp_path / "here").glob("*.npz"):
        assert (tmp_path / "far" / path.name).read_bytes() == path.read_bytes()


def test_a_killed_worker_loses_nothing(tmp_path):
    from test_cli import pisa

    command = ("simulate", "data", "--count", 24, "--size", 32, "--frames", 9, "--workers")
    running = subprocess.Popen(
        [sys.executable, "-m", "pisa_kit.cli", *map(str, command), "2"], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    for _ in range(600):
        if len(list((tmp_path / "data").glob("[0-9]*.npz"))) >= 4:
            break
        time.sleep(0.1)
    workers = [child for child in psutil.Process(running.pid).children() if "popen_loky" in " ".join(child.cmdline())]
    workers[0].kill()
    assert running.wait(120) == 2 and "Call the command again" in running.stderr.read()
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "data").glob("[0-9]*.npz")}
    assert 4 <= len(kept) < 24
    assert pisa(*command, 1, folder=tmp_path).returncode == 0
    assert all(path.stat().st_mtime_ns == time for path, time in kept.items())
    assert pisa("simulate", "whole", *command[2:], 1, folder=tmp_path).returncode == 0
    for path in (tmp_path / "whole").glob("[0-9]*.npz"):
        assert (tmp_path / "data" / path.name).read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    "address, problem", [("slurm://here", "Give dask://HOST:PORT"), ("dask://127.0.0.1:9", "does not answer")]
)
def test_a_cluster_that_is_not_there(address, problem, monkeypatch):
    from distributed import Client

    monkeypatch.setattr("distributed.Client", lambda place, timeout: Client(place, timeout=1))
    with pytest.raises(InputError, match=problem), on_cluster(address):
        pass
