"""How fast a manager may start units: a rate, a pause after failures that doubles; and how long a start takes."""

from attrs import define, frozen


@frozen
class Pace:
    """Bounds, in seconds; they differ between a process on this machine and a machine in a cloud."""

    first_backoff_s: float = 0.05
    longest_backoff_s: float = 30.0
    quiet_s: float = 10.0
    """A unit that ran this long is replaced at once: its end is news."""

    launch_s: float = 60.0
    """A unit that has not connected after this long is ended."""

    missing_s: float = 20.0
    """A unit that was connected, and is not any more, is ended after this long."""

    starts_per_s: float = 100.0
    burst: int = 100
    """Units that may be started at once, after a while without any."""

    cool_down_s: float = 0.0
    """After a unit was ended for lack of need, none is started for this long."""

    start_s: float = 0.5
    """From the wish for a unit until it has connected, as long as it was not measured."""


SMOOTHING = 0.3
"""Weight of the newest start-up time."""

FAILURES = 2
"""After so many failures without a success the manager says that it cannot deliver, so that others are asked."""


@define
class Starting:
    """When the next unit may be started."""

    pace: Pace
    now: float
    failures: int = 0
    text: str = ""
    """How the last one failed."""

    start_s: float = 0.0
    not_before: float = 0.0
    _backoff_s: float = 0.0
    _allowance: float = 0.0
    _refilled_at: float = 0.0
    _is_measured: bool = False

    def __attrs_post_init__(self) -> None:
        self.start_s = self.pace.start_s
        self.not_before = self._refilled_at = self.now
        self._backoff_s = self.pace.first_backoff_s
        self._allowance = float(self.pace.burst)

    def allowed(self, now: float) -> int:
        """Units that may be started now."""
        if now < self.not_before:
            return 0
        gained = (now - self._refilled_at) * self.pace.starts_per_s
        self._allowance = min(float(self.pace.burst), self._allowance + gained)
        self._refilled_at = now
        return int(self._allowance + 1e-9)

    def take(self) -> None:
        """One is started."""
        self._allowance -= 1.0

    def next_at(self, now: float) -> float:
        """When it is worth asking again."""
        missing = max(0.0, 1.0 - self._allowance)
        return max(self.not_before, self._refilled_at + missing / self.pace.starts_per_s)

    def failed(self, now: float, lived_s: float, text: str) -> float:
        """One ended unasked, ``lived_s`` after it was started; the pause until the next one."""
        self.text = text
        if lived_s >= self.pace.quiet_s:
            self._backoff_s = self.pace.first_backoff_s
        if now >= self.not_before:  # those that fail together are one failure
            self.failures += lived_s < self.pace.quiet_s
            self.not_before = now + self._backoff_s
            self._backoff_s = min(self.pace.longest_backoff_s, 2 * self._backoff_s)
        return self.not_before - now

    def cool_down(self, now: float) -> None:
        """One was ended for lack of need."""
        self.not_before = max(self.not_before, now + self.pace.cool_down_s)

    def connected(self, took_s: float) -> None:
        """One is there, so long after it was asked for."""
        self.failures = 0
        self.text = ""
        self.start_s = (1 - SMOOTHING) * self.start_s + SMOOTHING * took_s if self._is_measured else took_s
        self._is_measured = True

    def problem(self, now: float) -> str:
        """Why nothing can be started at present, or ""; while it is being tried again there is no problem."""
        if self.failures < FAILURES or now >= self.not_before:
            return ""
        return f"{self.failures} starts failed, the last one: {self.text}"
