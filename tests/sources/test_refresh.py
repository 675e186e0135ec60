"""Facts about fetching again: when, how often, and that it ends."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from pytest_gatekeeper._core.model import SourceSpec
from pytest_gatekeeper._sources.refresh import Refresher, SystemClock, after_failure, after_success

A, B = SourceSpec("process", (("command", "a"),)), SourceSpec("process", (("command", "b"),))


class StepClock:
    """Time that passes only by waiting, and is stopped after so many waits."""

    def __init__(self, waits: int) -> None:
        self.waits: list[float] = []
        self._left = waits
        self._now = 1000.0

    def now(self) -> float:
        """Seconds so far."""
        return self._now

    def wait(self, seconds: float) -> bool:
        """What `Clock` asks for."""
        self.waits.append(seconds)
        self._now += seconds
        self._left -= 1
        return self._left < 0

    def stop(self) -> None:
        """What `Clock` asks for."""
        self._left = 0

    @property
    def stopped(self) -> bool:
        """What `Clock` asks for."""
        return self._left <= 0

    def jitter(self) -> float:
        """None."""
        return 0.0


def run(
    waits: int, lifetimes: dict[SourceSpec, float], fetch: Callable[[SourceSpec], tuple[bool, float | None]]
) -> StepClock:
    clock = StepClock(waits)
    Refresher(lifetimes, fetch, clock).run()
    return clock


@pytest.mark.parametrize(("lifetime", "pause"), [(400, 300), (40, 30), (41, 30.75), (10, 30), (0, 30), (-5, 30)])
def test_a_source_is_due_at_three_quarters_of_its_time(lifetime: float, pause: float) -> None:
    """Half a minute is the least."""
    assert after_success(lifetime) == pause


def test_after_failures_the_pause_doubles_up_to_a_minute() -> None:
    """From a second on; chance adds up to a quarter."""
    assert [after_failure(times, 0) for times in range(1, 9)] == [1, 2, 4, 8, 16, 32, 60, 60]
    assert after_failure(10_000, 0) == 60
    assert [after_failure(times, 1) for times in (1, 2, 7)] == [1.25, 2.5, 75]


def test_each_source_is_fetched_when_it_is_due() -> None:
    """The one that is due first comes first, again and again."""
    fetched = []

    def fetch(source: SourceSpec) -> tuple[bool, float | None]:
        fetched.append(source)
        return True, 100.0 if source == A else 200.0

    clock = run(6, {A: 100.0, B: 200.0}, fetch)
    assert fetched[:3] == [A, A, B]
    assert sorted(source.get("command") for source in fetched) == ["a"] * 4 + ["b"] * 2
    assert sum(clock.waits[:-1]) == 300


def test_a_failure_is_tried_again_and_a_success_forgets_it() -> None:
    """Then the pauses begin anew."""
    outcomes = iter([(False, None), (False, None), (False, None), (True, 100.0), (False, None), (True, 100.0)])
    clock = run(6, {A: 400.0}, lambda source: next(outcomes))
    assert clock.waits == [300, 1, 2, 4, 75, 1, 75]


def test_what_does_not_expire_any_more_is_left_alone() -> None:
    """With nothing left the thread ends by itself."""
    clock = run(99, {A: 400.0}, lambda source: (True, None))
    assert clock.waits == [300]


def test_a_time_beyond_all_measure_is_waited_for_in_days() -> None:
    """A credential can say that it expires in a thousand years."""
    fetched: list[SourceSpec] = []

    def fetch(source: SourceSpec) -> tuple[bool, float | None]:
        fetched.append(source)
        return True, None

    clock = run(3, {A: 3e10}, fetch)
    assert clock.waits == [86_400.0] * 4
    assert fetched == []


def test_closing_ends_the_thread() -> None:
    """At once, although the next source is due in an hour; the thread is a daemon."""
    refresher = Refresher({A: 3600.0}, lambda source: (True, 3600.0), SystemClock())
    refresher.start()
    (thread,) = [thread for thread in threading.enumerate() if thread is refresher._thread]
    assert thread.daemon
    refresher.close()
    assert not thread.is_alive()
    refresher.close()


def test_closing_before_the_start_is_no_error() -> None:
    """There is nothing to wait for."""
    clock = SystemClock()
    Refresher({A: 3600.0}, lambda source: (True, None), clock).close()
    assert clock.stopped


def test_the_clock_of_the_machine_waits_and_is_stopped() -> None:
    """Time does not go back; after a stop no wait lasts."""
    clock = SystemClock()
    before = clock.now()
    assert clock.wait(0.01) is False
    assert clock.now() > before
    clock.stop()
    assert clock.wait(3600) is True
    assert 0 <= clock.jitter() <= 1
