import anyio
import pytest

from pocketsam.server.limits import Limits, RequestError
from pocketsam.server.turns import Turns


def served(*users: str, at_once: int = 1) -> list[str]:
    """The order in which requests are served that come in this one, while the model is busy."""
    order = []

    async def run():
        turns = Turns(at_once, Limits())
        release = anyio.Event()

        async def busy():
            async with turns.turn("busy"):
                await release.wait()

        async def request(user):
            async with turns.turn(user):
                order.append(user)
                await anyio.sleep(0)

        async with anyio.create_task_group() as tasks:
            for _ in range(at_once):
                tasks.start_soon(busy)
            await anyio.wait_all_tasks_blocked()
            for user in users:
                tasks.start_soon(request, user)
                await anyio.wait_all_tasks_blocked()
            release.set()

    anyio.run(run)
    return order


def test_users_take_turns():
    assert served("a1", "a1", "a1", "b", "c", "b") == ["a1", "b", "c", "a1", "b", "a1"]


def test_too_many_waiting_requests_are_refused():
    async def run():
        turns = Turns(1, Limits(waiting=3, waiting_each=2))
        async with anyio.create_task_group() as tasks:

            async def wait(user):
                async with turns.turn(user):
                    await anyio.sleep_forever()

            for user in "aaa":  # one has the model, two wait
                tasks.start_soon(wait, user)
            await anyio.wait_all_tasks_blocked()
            with pytest.raises(RequestError) as error:
                await turns.turn("a").__aenter__()
            assert (error.value.status, error.value.retry_after) == (429, 1)
            tasks.start_soon(wait, "b")
            await anyio.wait_all_tasks_blocked()
            with pytest.raises(RequestError):
                await turns.turn("c").__aenter__()
            tasks.cancel_scope.cancel()

    anyio.run(run)


def test_a_request_that_is_given_up_gives_its_turn_away():
    async def run():
        turns = Turns(1, Limits())
        release, got = anyio.Event(), []

        async def hold():
            async with turns.turn("a"):
                await release.wait()

        async def wait(user, scope):
            with scope:
                async with turns.turn(user):
                    got.append(user)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(hold)
            given_up = anyio.CancelScope()
            tasks.start_soon(wait, "b", given_up)
            tasks.start_soon(wait, "c", anyio.CancelScope())
            await anyio.wait_all_tasks_blocked()
            given_up.cancel()
            release.set()
        assert got == ["c"]

    anyio.run(run)


def test_a_preview_does_not_wait():
    async def run():
        turns = Turns(1, Limits())
        async with turns.turn("a", waits=False):
            with pytest.raises(RequestError, match="does not wait"):
                async with turns.turn("b", waits=False):
                    raise AssertionError
        async with turns.turn("b", waits=False):
            pass

    anyio.run(run)
