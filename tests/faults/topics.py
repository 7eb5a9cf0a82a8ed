"""Who hears of a topic, who is said to have joined it, and whom `others` leaves out: I14, I15 and I17."""

from collections import defaultdict
from collections.abc import Iterator

from tests.faults.history import Change, Gap, Joined, Left, Members, Message, Presence
from tests.faults.story import Receiver, Session, Story, Violation


def judge_topics(story: Story) -> Iterator[Violation]:
    of_topics = [receiver for receiver in story.receivers if receiver.is_of_topic]
    for receiver in of_topics:
        yield from _outsiders(story, receiver)
    for presence in story.of(Presence):
        yield from _members(story, of_topics, presence.at)
    for receiver in story.receivers:
        yield from _left_out(story, receiver)


def _outsiders(story: Story, receiver: Receiver) -> Iterator[Violation]:
    """I14: nothing comes of a topic before it was joined, or after it was left."""
    joined: set[str] = set()
    for event in receiver.seen:
        if isinstance(event, Joined):
            joined.add(event.session)
        elif isinstance(event, Left):
            joined.discard(event.session)
        elif isinstance(event, Message | Gap) and event.session not in joined:
            what = event.id if isinstance(event, Message) else "a gap"
            yield Violation(
                "I14",
                f"{receiver.name} received {what} of {receiver.stream} in session {event.session} "
                f"{story.time(event.at)}; it had not joined",
            )


def _members(story: Story, receivers: list[Receiver], at: float) -> Iterator[Violation]:
    """I15: Redis, and everybody who has joined, know just those users who have."""
    truth: defaultdict[str, set[str]] = defaultdict(set)
    connections: defaultdict[str, int] = defaultdict(int)
    for receiver in receivers:
        if receiver.is_open(at):
            truth[receiver.stream].add(receiver.user)
            connections[receiver.stream] += 1
    for said in story.of(Members):
        yield from _compared(story, f"Redis says that of {said.topic}", set(said.members), truth[said.topic], at)
        if said.count != connections[said.topic]:
            yield Violation(
                "I15",
                f"Redis counts {said.count} connections that have joined {said.topic} {story.time(at)}, and not "
                f"{connections[said.topic]}",
            )
    told = _told(story, at)
    for receiver in receivers:
        for session in receiver.sessions:
            members = told.get((session.connecting.session, receiver.stream))
            if session.is_open(at) and members is not None:
                who = f"{receiver.name} was told that of {receiver.stream}"
                yield from _compared(story, who, members, truth[receiver.stream], at)


def _told(story: Story, at: float) -> dict[tuple[str, str], set[str]]:
    """Return the members that each session was told of each topic, where that is told."""
    told: dict[tuple[str, str], set[str]] = {}
    for event in sorted([*story.of(Joined), *story.of(Change)], key=lambda event: event.at):
        if event.at > at:
            break
        key = event.session, event.topic
        if isinstance(event, Change):
            told[key] = (told.get(key, set()) | set(event.joined)) - set(event.left)
        elif event.members is not None:
            told[key] = set(event.members)
    return told


def _compared(story: Story, who: str, members: set[str], truth: set[str], at: float) -> Iterator[Violation]:
    if members != truth:
        errors = [f"{user} is a member, and is not" for user in sorted(members - truth)]
        errors += [f"{user} is none, and is one" for user in sorted(truth - members)]
        yield Violation("I15", f"{who} {'; '.join(errors)}, {story.time(at)}")


def _left_out(story: Story, receiver: Receiver) -> Iterator[Violation]:
    """I17: neither the connection, nor the one with which its client came back."""
    for event in receiver.seen:
        if not isinstance(event, Message) or event.id not in story.sendings:
            continue
        but = story.sendings[event.id].send.but
        if but and but in (event.session, _former(story.sessions[event.session])):
            yield Violation(
                "I17",
                f"{receiver.name} received {event.id} in session {event.session} {story.time(event.at)}; it is to "
                f"others than {but}",
            )


def _former(session: Session) -> str:
    return session.former if session.connecting.protocol == "v1" else ""
