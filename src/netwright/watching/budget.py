"""How often a training is looked at: densely at first, then as often as its share of the time allows."""

from __future__ import annotations

import math
import statistics
from collections import deque

DENSE = 20  # first steps, all of them
PAIR = 2  # consecutive steps, so that gradients can be compared
THINNEST = 50  # a sample at least every steps ÷ 50 is not needed: a thousand samples show what a hundred thousand do
CLOCKED = 8  # steps after a pair that tell how long a step takes: pauses and validations lie elsewhere, as a rule
FAR = 2**62  # a step that never comes
LOOKING = 0.6  # of the share: the rest is for what no clock of ours sees, counting, hooks being there, colder caches
REMEMBERED = 9  # samples that costs are the median of: the first ones, which warm up, are forgotten


class Budget:
    """Decides which steps are looked at. Times are seconds of one clock.

    A sampled step is announced by `begin` and ends with `end`. ``share``: of the time of all steps that sampling may
    take. After the dense beginning a pair of steps is sampled whenever the steps since have paid for it, and at the
    latest when the training is twice as long as at the last pair: that is a handful of samples, which a long training
    does not feel, and a short one shows its whole course. ``planned``: the last pair ends with this step, and takes the
    place of one that it would overlap. ``also``: numbers of finished steps after which one is sampled anyway, because
    something else happens there (validation).
    """

    def __init__(self, share: float, now: float, planned: int | None = None, also: tuple[int, ...] = ()) -> None:
        self.share, self.planned, self.also = LOOKING * share, planned, also
        self.next = 0 if share > 0 else math.inf  # the number of finished steps after which one is sampled
        self.wake = self.next  # the number of finished steps after which `passed` is to be called
        self._mark = (now, 0)  # the end of the last sampled step, or none where the steps since are clocked
        self._begun = now
        self._burst = 0
        self._plain: deque[float] = deque(maxlen=REMEMBERED)  # seconds a step that was not sampled
        self._sampled: deque[float] = deque(maxlen=REMEMBERED)  # seconds of a sampled one without what it cost itself
        self._own: deque[float] = deque(maxlen=REMEMBERED)  # seconds spent on looking

    @property
    def step_seconds(self) -> float:
        """Of a step that is not sampled; 0 where none is known."""
        known = self._plain or self._sampled
        return statistics.median(known) if known else 0.0

    @property
    def cost(self) -> float:
        """Seconds that a sampled step costs: looking, and what calls cost more meanwhile."""
        if not self._own:
            return 0.0
        slower = statistics.median(self._sampled) - self.step_seconds if self._plain else 0.0
        return statistics.median(self._own) + max(0.0, slower)

    def passed(self, now: float, step: int) -> None:
        """``step`` steps have ended, and none has been sampled since the last `end`."""
        then, number = self._mark
        if step > number:
            if number:
                self._plain.append((now - then) / (step - number))
            self._mark = (now, FAR)
        self.wake = self.next

    def begin(self, now: float, step: int) -> None:
        """The step after ``step`` finished ones is sampled."""
        self.passed(now, step)
        self._begun = now

    def end(self, now: float, step: int, own: float, after: float = 0.0) -> None:
        """It has ended as step ``step``; ``own`` seconds of it were spent on looking, and ``after`` it some more."""
        self._sampled.append(max(0.0, now - self._begun - own))
        self._own.append(own + after)
        self._mark = (now + after, step)
        self._burst += 1
        self._plan(step)
        self.wake = min(self.next, step + CLOCKED)

    def skip_to(self, step: float) -> None:
        """Whatever was planned: the next step that is sampled is the one after ``step``."""
        self.next = self.wake = step

    def _plan(self, step: int) -> None:
        if step < DENSE or self._burst % PAIR:
            self.next = step
            return
        seconds = self.step_seconds
        gap = math.ceil(PAIR * self.cost / (self.share * seconds)) if seconds else step
        due = min(step + max(gap, step // THINNEST, 1), 2 * step)
        if self.planned is not None and step <= self.planned - PAIR < due + PAIR:  # no room for a pair before the last
            due = self.planned - PAIR
        due = min([due, *(number for number in self.also if number > step)])
        self.next = due
