"""Who the running code works for, and where that is seen and is not."""

import asyncio
import threading
from contextvars import copy_context

import pytest

from qrsocket import User, authenticated
from qrsocket.context import NOBODY, Context, current, current_audience, running_for
from qrsocket.errors import InvalidUserId, NoRecipient, NotAuthenticated


def test_nobody_by_default() -> None:
    """
    Where nobody was authenticated there is nobody to send to, and the error says what to do.
    """
    assert NOBODY == current()
    with pytest.raises(NoRecipient, match=r"socket\.to\(user_id\).*await authenticated\(user\)"):
        current_audience()


@pytest.mark.parametrize(
    ("context", "audience"),
    [
        (Context(user="alice"), "u:alice"),
        (Context(connection="c1"), "c:c1"),
        (Context(user="alice", connection="c1"), "u:alice"),
    ],
    ids=["user", "connection", "both"],
)
def test_the_user_comes_before_the_connection(context: Context, audience: str) -> None:
    """
    A send without a name goes to the user, and to the connection only where there is no user.
    """
    with running_for(context):
        assert audience == current_audience()


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
        return current_audience()

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
    In a handler the connection is given its user; a connection that refuses leaves the current user as it was.
    """
    bound: list[str] = []

    async def bind(id: str) -> None:
        if bound:
            raise NotAuthenticated
        bound.append(id)

    with running_for(Context(connection="c1", bind=bind)):
        await authenticated(User("alice"))
        with pytest.raises(NotAuthenticated):
            await authenticated("mallory")

        assert ["alice"] == bound
        assert "u:alice" == current_audience()


async def test_authenticated_refuses_what_is_no_user() -> None:
    """
    An id that cannot name a user changes nothing.
    """
    with running_for(Context(user="alice")):
        with pytest.raises(InvalidUserId):
            await authenticated("")

        assert "u:alice" == current_audience()


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

    assert "u:alice" == current_audience()
