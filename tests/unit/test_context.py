"""Who the running code works for, and where that is seen and is not."""

import asyncio
import threading
from contextvars import copy_context

import pytest

from qrsocket import User, authenticated
from qrsocket.context import NOBODY, Context, current, current_stream, running_for
from qrsocket.errors import InvalidUserId, NoRecipient, NotAuthenticated
from qrsocket.message import Message


def test_nobody_by_default() -> None:
    """
    Where nobody was authenticated there is nobody to send to, and the error says what to do.
    """
    assert NOBODY == current()
    with pytest.raises(NoRecipient, match=r"socket\.to\(user_id\).*await authenticated\(user\)"):
        current_stream()


@pytest.mark.parametrize(
    ("context", "stream"),
    [
        (Context(user="alice"), "u:alice"),
        (Context(connection="c1"), "c:c1"),
        (Context(user="alice", connection="c1"), "u:alice"),
    ],
    ids=["user", "connection", "both"],
)
def test_the_user_comes_before_the_connection(context: Context, stream: str) -> None:
    """
    A send without a name goes to the user, and to the connection only where there is no user.
    """
    with running_for(context):
        assert stream == current_stream()


def test_a_context_ends_with_its_block() -> None:
    """
    The former context is back after the block, also after an exception, however deep.
    """
    with running_for(Context(user="outer")):
        with pytest.raises(KeyError), running_for(Context(user="inner")):
            raise KeyError
        after_inner = current()

    assert Context(user="outer") == after_inner
    assert NOBODY == current()


async def test_threads_and_tasks_inherit_the_context() -> None:
    """
    A task and `to_thread` know the user; a bare thread does not.
    """
    seen: list[Context] = []

    async def look() -> Context:
        return current()

    with running_for(Context(user="alice")):
        task = asyncio.create_task(look())
        in_thread = await asyncio.to_thread(current)
        thread = threading.Thread(target=lambda: seen.append(current()))
        thread.start()
        thread.join()

    assert Context(user="alice") == await task == in_thread
    assert [NOBODY] == seen


async def test_tasks_do_not_see_each_other() -> None:
    """
    Two tasks that work for two users at once keep apart.
    """
    both_inside = asyncio.Barrier(2)

    async def work(user: str) -> str:
        await authenticated(user)
        await both_inside.wait()
        return current_stream()

    assert ("u:a", "u:b") == tuple(await asyncio.gather(work("a"), work("b")))


async def test_authenticated_makes_the_current_user() -> None:
    """
    From `authenticated` on the user is known, the connection is kept, and the id comes back as text.
    """
    with running_for(Context(connection="c1")):
        user = await authenticated(42)

        assert User("42") == user
        assert Context(user="42", connection="c1") == current()


async def test_authenticated_binds_the_connection_first() -> None:
    """
    In a handler the connection is given its user, with the time until when that holds; a connection that refuses leaves
    the current user as it was.
    """
    bound: list[User] = []

    class Handled:
        loop = asyncio.get_running_loop()

        async def bind(self, user: User) -> None:
            if bound:
                raise NotAuthenticated
            bound.append(user)

        async def reply(self, message: Message) -> None: ...

        async def join(self, topic: str) -> None: ...

        async def leave(self, topic: str) -> None: ...

    with running_for(Context(connection="c1", here=Handled())):
        user = await authenticated(User("alice", expires_at=7))
        with pytest.raises(NotAuthenticated):
            await authenticated("mallory")

        assert [7] == [one.expires_at for one in (user,)] == [one.expires_at for one in bound]
        assert [User("alice")] == bound
        assert "u:alice" == current_stream()


async def test_authenticated_refuses_what_is_no_user() -> None:
    """
    An id that cannot name a user changes nothing.
    """
    with running_for(Context(user="alice")):
        with pytest.raises(InvalidUserId):
            await authenticated("")

        assert "u:alice" == current_stream()


async def test_an_awaited_coroutine_sets_the_user_of_its_caller() -> None:
    """
    An `async def` dependency that awaits `authenticated` sets the user for its endpoint; a thread's copy does not.
    """

    async def dependency() -> None:
        await authenticated("alice")

    def in_copy() -> None:
        asyncio.run(authenticated("bob"))

    await dependency()
    await asyncio.to_thread(copy_context().run, in_copy)

    assert "u:alice" == current_stream()
