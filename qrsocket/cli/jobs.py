"""`qrsocket jobs`: the jobs of everybody, and what may be done about one."""

import time
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer
from pydantic_core import to_json
from rich.table import Table
from rich.text import Text

from qrsocket import clients
from qrsocket.cli.ask import asking
from qrsocket.cli.failed import Failed, failing_in_one_line
from qrsocket.cli.status import new_table, wide_console
from qrsocket.jobs.census import OwnedJob
from qrsocket.jobs.queues import duration
from qrsocket.jobs.table import Advanced, Answer, JobKey, Jobs, State
from qrsocket.keys import Keyspace
from qrsocket.patience import Patience
from qrsocket.roundtrip import Call, run_all
from qrsocket.settings import Settings
from qrsocket.status import job_calls, owner_calls
from qrsocket.streams import Stream, of_user
from qrsocket.users import user_ids

app = typer.Typer(rich_markup_mode="rich")
UserOption = Annotated[str, typer.Option("--user", metavar="USER", help="Of this user alone.")]
JobId = Annotated[str, typer.Argument(metavar="ID", help="Id of the job, as `qrsocket jobs` shows it.")]


@app.callback(invoke_without_command=True)
def jobs(
    context: typer.Context,
    user: UserOption = "",
    state: Annotated[State | None, typer.Option(help="In this state alone.")] = None,
    most: Annotated[int, typer.Option(min=1, max=1000, help="So many at most.")] = 100,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON list.")] = False,
) -> None:
    """
    List watched jobs; cancel one, or end one that is lost.

    Listed are those that have not ended, and the newest 1 000 that have: each is kept for QRSOCKET_JOB_SECONDS. Results
    are not shown.

    [bold]Examples[/bold]

      qrsocket jobs
      qrsocket jobs --state failed --json
      qrsocket jobs --user alice
      qrsocket jobs cancel 6e4f…
      qrsocket jobs end 6e4f…
    """
    if context.invoked_subcommand:
        return
    with failing_in_one_line():
        found = find_jobs(user, state, most)
    if as_json:
        typer.echo(to_json([{"user": one.user, **one.job} for one in found], indent=2))
        return
    rows = rows_of(found)
    rows.caption = f"{len(found)} listed: those that have not ended, and the newest that have"
    wide_console().print(rows)


@app.command()
def cancel(id: JobId, user: UserOption = "") -> None:
    """
    Have a job stop, as its user could.

    One that waits is cancelled at once; one that runs stops at its next sign of life.

    [bold]Examples[/bold]

      qrsocket jobs cancel 6e4f…
      qrsocket jobs cancel import-7 --user alice
    """
    with failing_in_one_line():
        advanced = _advance("cancel", id, user)
    _say_what_became_of(id, advanced, "is told to stop")


@app.command()
def end(id: JobId, user: UserOption = "") -> None:
    """
    Take a job for lost that no worker will report on: its queue was emptied, say, or its worker's machine is gone.

    If a worker still has it, its next report brings it back.

    [bold]Examples[/bold]

      qrsocket jobs end 6e4f…
    """
    with failing_in_one_line():
        advanced = _advance("give_up", id, user)
    _say_what_became_of(id, advanced, "")


def find_jobs(user: str, state: State | None, most: int) -> list[OwnedJob]:
    with asking() as settings:
        if not user:
            found = [one for answer in _ask(settings, job_calls(settings, state, most)) for one in answer]
        else:
            owner = _owner(user)
            [listed] = _ask(settings, [Jobs(Keyspace.of(settings).of_stream(owner), settings).listed(owner)])
            found = [OwnedJob(owner, _without_result(job)) for job in listed if state in (None, job["state"])]
    return sorted(found, key=_order)[:most]


def _without_result(job: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in job.items() if name not in ("result", "result_omitted")}


def _order(one: OwnedJob) -> tuple[bool, float]:
    """Those that have not ended first; the newest first of each."""
    ended_at = one.job.get("ended_at")
    return ended_at is not None, -(ended_at or one.job["queued_at"])


def _advance(event: str, id: str, user: str) -> Advanced:
    with asking() as settings:
        of_shards = [[_owner(user)]] if user else _ask(settings, owner_calls(settings, id))
        owners: list[Stream] = [owner for found in of_shards for owner in found]
        if len(owners) > 1:
            raise Failed(f"{len(owners)} users have a job with the id {id}: name one with --user")
        if owners:
            jobs = Jobs(Keyspace.of(settings).of_stream(owners[0]), settings)
            advanced: Advanced = _ask(settings, [jobs.advance(event, JobKey.of(owners[0], id))])[0]
            if advanced.answer is not Answer.UNKNOWN:
                return advanced
    raise Failed(f"no job is known by the id {id}")


def _say_what_became_of(id: str, advanced: Advanced, while_it_runs: str) -> None:
    state = (advanced.job or {})["state"]
    if advanced.answer is Answer.OVER:
        typer.echo(f"{id} has ended already: {state}")
    elif state == State.STARTED:
        typer.echo(f"{id} runs, and {while_it_runs}")
    else:
        typer.echo(f"{id} is {state}")


def _ask(settings: Settings, calls: Sequence[Call[Any]]) -> list[Any]:
    return run_all(clients.blocking(settings), calls, Patience(settings.redis_timeout))


def _owner(user: str) -> Stream:
    return of_user(user_ids([user])[0])


def rows_of(found: Sequence[OwnedJob]) -> Table:
    """Return *found* as people read it."""
    rows = new_table("job", "user", "task", "state", "attempt", "done", "waited", "ran", "says")
    for one in found:
        job, now = one.job, time.time()
        began = job.get("started_at")
        ended = job.get("ended_at") or now
        cells = [job["id"], one.user or "-", job["task"], job["state"], str(job["attempt"])]
        cells.append("" if job.get("percent") is None else f"{job['percent']} %")
        cells.append(duration(max((began or ended) - job["queued_at"], 0)))
        cells.append("" if began is None else duration(max(ended - began, 0)))
        cells.append(job.get("error") or job.get("reason") or job.get("message") or "")
        rows.add_row(*map(Text, cells), style="red" if job["state"] in (State.FAILED, State.LOST) else None)
    return rows
