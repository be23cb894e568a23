"""Result messages by their numbers: which are new, which were missed, and when to acknowledge them."""

from typing import Final

from attrs import define

from scaler_protocol.messages import AckResults

ACK_MESSAGES: Final = 64
"""Results are acknowledged at the latest after so many messages."""

ACK_S: Final = 0.100
"""… and after this long, or after half of it if something else happens then: a wake-up for it alone is not worth it.
The scheduler and the workers keep results until then."""


@define
class Receipts:
    """What has come of one epoch's result messages."""

    epoch: int = -1  # of the scheduler we were last connected to
    sequence: int = 0  # last message received in this epoch
    pending: int = 0  # messages since the last acknowledgement
    due_at: float | None = None  # when the next acknowledgement is

    def begin_epoch(self, epoch: int) -> None:
        """Another scheduler counts anew."""
        if epoch != self.epoch:
            self.epoch = epoch
            self.sequence = 0

    def take(self, sequence: int, now: float) -> str | None:
        """Count a message: None if it is new, "" if it came before, else what is wrong."""
        if sequence <= self.sequence:
            return ""
        if sequence != self.sequence + 1:
            return f"result message {sequence} came after {self.sequence}: some are missing"
        self.sequence = sequence
        self.pending += 1
        if self.due_at is None:
            self.due_at = now + ACK_S
        return None

    def is_due(self, now: float) -> bool:
        """Whether to acknowledge now."""
        return self.due_at is not None and (self.pending >= ACK_MESSAGES or now >= self.due_at - ACK_S / 2)

    def acknowledge(self) -> AckResults:
        """The acknowledgement of everything so far."""
        self.forget()
        return AckResults(self.sequence)

    def forget(self) -> None:
        """The connection is gone; the next one begins by saying what came."""
        self.pending = 0
        self.due_at = None
