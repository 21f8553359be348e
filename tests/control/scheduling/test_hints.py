"""Hints that come while one is answered."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from loraforge.scheduling.hints import Gathered


def test_a_burst_holds_up_no_thread_and_gets_one_more_answer() -> None:
    begun, may_end = threading.Event(), threading.Event()
    answers: list[str] = []

    def work() -> None:
        begun.set()
        assert may_end.wait(30)
        answers.append("worked")

    gathered = Gathered(work=work, again=lambda: answers.append("again"))
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(gathered.hint)
        assert begun.wait(30)
        for _number in range(100):
            gathered.hint()  # would wait for ever if it did the work itself
        assert answers == []
        may_end.set()
        first.result(30)
    assert answers == ["worked", "again"]
    gathered.hint()
    assert answers == ["worked", "again", "worked"], "nothing came meanwhile"


def test_a_work_that_failed_holds_up_nobody() -> None:
    def work() -> None:
        raise ZeroDivisionError

    gathered = Gathered(work=work, again=lambda: None)
    for _twice in range(2):
        with pytest.raises(ZeroDivisionError):
            gathered.hint()
