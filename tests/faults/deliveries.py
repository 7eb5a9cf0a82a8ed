"""
Whether every receiver got what it had to get, once, in order, and nothing else: I1 to I4, and I8.

Of what was sent to a topic the first three are I13, and the fourth is I14.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from math import inf

from tests.faults.conditions import EVERYONE
from tests.faults.history import Closed, Gap, Joined, Message, Ready
from tests.faults.story import Receiver, Sending, Story, Violation

# A plain client hears of no gap. What was sent shortly before Redis forgot everything, it may miss.
DATA_LOSS_BEFORE = 1.0
DATA_LOSS_AFTER = 30.0
# So many are kept at least, for longer than any run takes.
KEPT = 256


def judge_deliveries(story: Story) -> Iterator[Violation]:
    acknowledged = story.acknowledged()
    for receiver in story.receivers:
        yield from _losses(story, receiver, acknowledged.get(receiver.stream, []))
        yield from _unrecovered(story, receiver)
        yield from _repetitions(story, receiver)
        yield from _disorder(story, receiver)
        yield from _offsets(story, receiver)
        yield from _strangers(story, receiver)
        yield from _afterlife(story, receiver)


def _losses(story: Story, receiver: Receiver, acknowledged: list[Sending]) -> Iterator[Violation]:
    """
    I1. The first mark after the beginning of a send decides: what is later in the stream came before it, or did not.

    A message that was sent after another was acknowledged is later than that, in every stream.
    """
    received = {event.id for event in receiver.seen if isinstance(event, Message)}
    marks, latest = _marks(story, receiver)
    is_connected = receiver.is_open(story.quiet)
    for sending in _sent_between(receiver.opened, inf if is_connected else latest[-1][0], acknowledged):
        if sending.id in received or story.is_left_out(receiver, sending):
            continue
        next_mark = bisect_right(marks, sending.begin)
        later, later_id = latest[next_mark]
        if later > sending.acknowledged:
            why = f"{later_id}, sent {story.time(later)}, did"
        elif next_mark == len(marks) and is_connected:
            why = f"it was connected at the end, {story.time(story.quiet)}"
        else:
            continue
        if not _is_excused(story, receiver, sending):
            yield Violation(
                named(receiver, "I1"),
                f"{sending.id}, sent {story.time(sending.begin)} and acknowledged {story.time(sending.acknowledged)}, "
                f"did not reach {receiver.name}{_where(receiver)}; {why}",
            )


def named(receiver: Receiver, invariant: str) -> str:
    """Return the number that *invariant* has where it is about what *receiver* receives."""
    if not receiver.is_of_topic:
        return invariant
    return "I14" if invariant == "I4" else "I13"


def _where(receiver: Receiver) -> str:
    return f" in {receiver.stream}" if receiver.is_of_topic else ""


def _sent_between(after: float, before: float, sendings: list[Sending]) -> list[Sending]:
    first = bisect_right(sendings, after, key=_begin)
    return sendings[first : bisect_left(sendings, before, key=_begin)]


def _begin(sending: Sending) -> float:
    return sending.begin


def _marks(story: Story, receiver: Receiver) -> tuple[list[float], list[tuple[float, str]]]:
    """
    Return when the receiver was told that it may have missed something, and the latest message that it had by then.

    Returns:
        The marks; for each, and once more for the end, when the latest message was sent, and its id.
    """
    marks, latest = [], []
    newest = (-inf, "")
    for event in receiver.seen:
        if isinstance(event, Message):
            sending = story.sendings.get(event.id)
            # What is in no stream, or in everyone's, says nothing of this one.
            if sending is not None and sending.send.kept and not _is_for_all(receiver, event):
                newest = max(newest, (sending.begin, event.id))
        elif isinstance(event, Gap) or (isinstance(event, Ready | Joined) and not event.recovered):
            marks.append(event.at)
            latest.append(newest)
    return marks, [*latest, newest]


def _is_excused(story: Story, receiver: Receiver, sending: Sending) -> bool:
    return not receiver.is_v1 and story.has_data_loss(
        sending.begin - DATA_LOSS_BEFORE, sending.acknowledged + DATA_LOSS_AFTER
    )


def _repetitions(story: Story, receiver: Receiver) -> Iterator[Violation]:
    """I2."""
    epochs: dict[str, str] = {}
    by_id: dict[str, Message] = {}
    by_position: dict[tuple[str, int], Message] = {}
    for event in receiver.seen:
        if isinstance(event, Ready | Joined | Gap):
            epochs[event.session] = event.epoch
        if not isinstance(event, Message):
            continue
        earlier = by_id.setdefault(event.id, event)
        if earlier is not event and _may_be_stored_twice(story, event):
            earlier = event
        if event.offset is not None and event.session in epochs:
            earlier_here = by_position.setdefault((epochs[event.session], event.offset), event)
            earlier = earlier_here if earlier is event else earlier
        if earlier is not event:
            yield Violation(
                named(receiver, "I2"),
                f"{receiver.name} received {event.id} in session {event.session} {story.time(event.at)}, after "
                f"{earlier.id} in session {earlier.session} {story.time(earlier.at)}; offsets {event.offset}, "
                f"{earlier.offset}",
            )


def _may_be_stored_twice(story: Story, message: Message) -> bool:
    """Tell whether Redis may have forgotten it, and the memory that it was sent, between two attempts to send it."""
    sending = story.sendings.get(message.id)
    return sending is not None and story.has_data_loss(sending.begin, sending.over)


def _disorder(story: Story, receiver: Receiver) -> Iterator[Violation]:
    """I3, of senders: the first copies of what was acknowledged come in the order in which each sender sent."""
    received: set[str] = set()
    last: dict[str, Message] = {}
    for event in receiver.seen:
        if not isinstance(event, Message) or event.id in received or _is_for_all(receiver, event):
            continue
        received.add(event.id)
        sending = story.sendings.get(event.id)
        if sending is None or sending.acknowledged == inf or not sending.send.kept:
            continue
        before = last.get(event.sender, event)
        if event.n >= before.n:
            last[event.sender] = event
        elif not _may_be_stored_twice(story, event):
            yield Violation(
                named(receiver, "I3"),
                f"{receiver.name} received {event.id}, n {event.n} of {event.sender}, {story.time(event.at)}, "
                f"after {before.id}, n {before.n}, {story.time(before.at)}",
            )


def _offsets(story: Story, receiver: Receiver) -> Iterator[Violation]:
    """I3, of offsets."""
    offsets: dict[str, int] = {}
    for event in receiver.seen:
        if isinstance(event, Ready | Joined | Gap):
            offsets[event.session] = event.offset
        elif isinstance(event, Message) and event.offset is not None:
            last = offsets.get(event.session)
            offsets[event.session] = event.offset
            if last is None and receiver.is_of_topic:
                continue  # it has not joined
            if last is None or event.offset <= last:
                after = "before ready" if last is None else f"after offset {last}"
                yield Violation(
                    named(receiver, "I3"),
                    f"{receiver.name} received {event.id} with offset {event.offset} {after}, in session "
                    f"{event.session} {story.time(event.at)}",
                )


def _unrecovered(story: Story, receiver: Receiver) -> Iterator[Violation]:
    """I1: who comes back to the same epoch, with a position after which all is kept, misses nothing."""
    for event in receiver.seen:
        if not isinstance(event, Ready | Joined) or event.recovered:
            continue
        since = event.since if isinstance(event, Joined) else story.sessions[event.session].connecting.position
        if since is not None and since[0] == event.epoch and 0 <= event.offset - since[1] < KEPT:
            yield Violation(
                named(receiver, "I1"),
                f"{receiver.name}{_where(receiver)} came back {story.time(event.at)} with offset {since[1]} of the "
                f"same epoch, and was told of a gap up to {event.offset}",
            )


def _strangers(story: Story, receiver: Receiver) -> Iterator[Violation]:
    """I4, and what nobody sent."""
    for event in receiver.seen:
        if isinstance(event, Ready) and event.user != receiver.user:
            yield Violation(
                "I4", f"session {event.session} of {receiver.user} became {event.user}'s {story.time(event.at)}"
            )
        if not isinstance(event, Message):
            continue
        if receiver.stream not in event.to and not _is_for_all(receiver, event):
            yield Violation(
                named(receiver, "I4"),
                f"{receiver.name} received {event.id} in session {event.session} {story.time(event.at)}; it is to "
                f"{', '.join(event.to)}",
            )
        if event.id not in story.sendings:
            yield Violation("I0", f"{receiver.name} received {event.id} {story.time(event.at)}; nobody sent it")


def _is_for_all(receiver: Receiver, message: Message) -> bool:
    """Tell whether a plain client, which does not see of what stream a message is, got one that was to everyone."""
    return EVERYONE in message.to and not receiver.is_v1


def _afterlife(story: Story, receiver: Receiver) -> Iterator[Violation]:
    """I8."""
    closed: dict[str, Closed] = {}
    for event in receiver.seen:
        if isinstance(event, Closed):
            closed.setdefault(event.session, event)
        elif event.session in closed:
            what = event.id if isinstance(event, Message) else type(event).__name__.lower()
            yield Violation(
                "I8",
                f"{receiver.name} saw {what} in session {event.session} {story.time(event.at)}; it was closed "
                f"{story.time(closed[event.session].at)}",
            )
