"""
A job as it is promised, on one object: which word of it counts, what its owner is told, and what is decided in time.

What `qrsocket/jobs/*.lua` do to Redis, without queues' lines and what is known of tasks by their names. Times are in
seconds, and stand still until `now` is set.
"""

from dataclasses import dataclass

LEASE, WAIT, WINDOW = 300_000, 100_000, 200_000
WAITS = {"queued", "retrying", "requeued"}
OVER = {"succeeded", "failed", "timeout", "cancelled", "lost"}
# A worker that was taken for dead may only have been frozen: its job may go on.
FINAL = OVER - {"lost"}


@dataclass(frozen=True)
class Word:
    """
    What a process says of a job.

    Attributes:
        turn, attempt: Count its messages (a retry is one more, and so is a replacement), and its retries.
        run: Token of one execution.
        is_late: Its message is acknowledged when it is done, and so delivered again if its worker dies.
        state: In which it has ended.
    """

    turn: int
    attempt: int
    run: str = ""
    is_late: bool = False
    worker: str = ""
    state: str = ""


class Job:
    """
    Attributes:
        state: None if nothing was heard of it.
        told: What the owner was told, in order, since that was taken.
        due: When something is decided if nothing is heard.
        beat: When somebody last looked what is due.
    """

    def __init__(self) -> None:
        self.now = 0
        self.state: str | None = None
        self.turn = self.attempt = 0
        self.run = self.worker = ""
        self.is_late = self.expires = self.is_cancelling = False
        self.due: int | None = None
        self.beat: int | None = None
        self.told: list[str] = []

    def queued(self, word: Word, *, expires: bool) -> str:
        if self.state in FINAL:
            return "OVER"
        if self.state is None:
            self.turn, self.attempt = word.turn, word.attempt
            self._enter("queued")
        elif word.turn <= self.turn:
            return "STALE"  # the worker was quicker
        else:
            state = "retrying" if word.attempt > self.attempt else "requeued"
            self.turn, self.attempt, self.run = word.turn, word.attempt, ""
            if self.is_cancelling:
                self._end("cancelled")
                return "OK"
            self._enter(state)
        self.due = self.now + WAIT
        self.expires = self.expires or expires
        return "OK"

    def started(self, word: Word) -> str:
        if self.state is not None and self.run == word.run:
            return "OK"  # said again
        if self.state in FINAL:
            return "OVER"
        if word.turn < self.turn:
            return "STALE"
        if self.state is None:
            self.turn, self.attempt = word.turn, word.attempt
            self._enter("queued")
        if self.is_cancelling:
            self._end("cancelled")
            return "OVER"
        if self.state == "started":  # nobody has said how that ended
            self._enter("retrying" if word.attempt > self.attempt else "requeued")
        self.turn, self.attempt, self.run = word.turn, word.attempt, word.run
        self.is_late, self.worker, self.expires = word.is_late, word.worker, False
        self.due = self.now + LEASE
        self._enter("started")
        return "OK"

    def ended(self, word: Word) -> str:
        if self.state in FINAL:
            return "OVER"
        if self.state is None:
            self.turn, self.attempt = word.turn, word.attempt
            if word.run:
                self.state = "queued"
            else:
                self._enter("queued")
        else:
            if not self._is_current(word):
                return "STALE"
            if word.run and not self.run:
                self._enter("started")
        if word.state == "requeued":
            self.run = ""
            self._enter("requeued")
            self.due = self.now + WINDOW
        else:
            self._end(word.state)
        return "OK"

    def cancel(self) -> str:
        if self.state is None:
            return "UNKNOWN"
        if self.state in OVER:
            return "OVER"
        if self.state in WAITS:
            self._end("cancelled")
        elif not self.is_cancelling:
            self.is_cancelling = True
            self.told.append(self.state)
        return "OK"

    def give_up(self) -> str:
        if self.state is None:
            return "UNKNOWN"
        if self.state in OVER:
            return "OVER"
        self._end("lost")
        return "OK"

    def renew(self, run: str) -> str:
        if self.state is None:
            return "UNKNOWN"
        if self.run != run or self.state in FINAL:
            return "STALE"
        self.due = self.now + LEASE
        if self.state != "started":  # it was taken for dead
            self._enter("started")
        return "CANCEL" if self.is_cancelling else "OK"

    def reap(self) -> None:
        before, self.beat = self.beat, self.now
        is_due = self.due is not None and self.due <= self.now
        if before is None or self.now - before > LEASE / 2:  # nobody could renew: every run has time once more
            if self.due is not None:
                self.due = max(self.due, self.now + LEASE)
        elif is_due and self.state == "started" and self.is_late and not self.is_cancelling:
            self._enter("requeued")
            self.due = self.now + WINDOW
        elif is_due:
            is_given_up = self.expires or (self.state == "started" and self.is_cancelling)
            self._end("cancelled" if is_given_up else "lost")

    def _is_current(self, word: Word) -> bool:
        if word.run and self.run:
            return word.run == self.run
        if word.turn != self.turn:
            return False
        return self.state in WAITS or (word.worker != "" and word.worker == self.worker)

    def _end(self, state: str) -> None:
        self.is_cancelling, self.due = False, None
        self._enter(state)

    def _enter(self, state: str) -> None:
        self.state = state
        self.told.append(state)
