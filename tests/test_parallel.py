"""Jobs in worker processes: results in order, no bars of their own, errors handed on."""

import pytest

from pisa_kit.parallel import run_jobs


def job(number: int) -> int:
    from tqdm import tqdm

    if number < 0:
        raise ValueError("negative")
    return sum(1 for _ in tqdm(range(number), desc="inner", disable=False))


def test_results_are_in_order_and_only_the_outer_bar_shows(capfd):
    assert run_jobs(job, [(3,), (1,), (2,)], "outer") == [3, 1, 2]
    shown = capfd.readouterr().err
    assert "outer" in shown and "inner" not in shown


def test_an_error_in_a_worker_reaches_the_caller():
    with pytest.raises(ValueError, match="negative"):
        run_jobs(job, [(1,), (-1,)], "outer")
