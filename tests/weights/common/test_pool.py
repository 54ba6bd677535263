"""The pool of processes: answers, errors, and deaths that cost one call."""

from __future__ import annotations

import os

import pytest

from ubr.weights.common.pool import Died, ProcessPool, cores


def test_cores__at_least_one() -> None:
    assert 1 <= cores() <= (os.cpu_count() or 1)


def _half(number: int) -> float:
    return 1 / (number - 3)


def test_submit__an_error_of_the_call_is_raised_and_says_where_it_was() -> None:
    pool = ProcessPool(1)
    try:
        futures = [pool.submit(_half, number) for number in (1, 3, 5)]
        assert [futures[0].result(), futures[2].result()] == [-0.5, 0.5]
        with pytest.raises(ZeroDivisionError) as error:
            futures[1].result()
        assert "_half" in str(error.value.__cause__)
    finally:
        pool.shutdown()


def _process(dies: bool) -> int:
    if dies:
        os._exit(9)
    return os.getpid()


def test_submit__a_death_costs_its_call_and_another_process_takes_over() -> None:
    pool = ProcessPool(1)
    try:
        first = pool.submit(_process, False).result()
        with pytest.raises(Died):
            pool.submit(_process, True).result()
        assert pool.submit(_process, False).result() not in (first, os.getpid())
    finally:
        pool.shutdown()
