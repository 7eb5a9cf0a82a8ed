"""Who somebody is: a name in a signed cookie. There are no passwords here: who takes a name, on any device, is it."""

import os
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from secrets import token_hex
from tempfile import NamedTemporaryFile
from typing import Annotated, TypeAlias

from fastapi import APIRouter, Depends, HTTPException, Request, Response
from itsdangerous import BadSignature, URLSafeTimedSerializer
from pydantic import BaseModel, StringConstraints

from qrsocket import User, authenticated
from worker.store import DATA

COOKIE = "example_user"
MAX_AGE = 30 * 24 * 3600

Name: TypeAlias = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=32, pattern=r"^\w[\w .'’-]*$")
]

router = APIRouter()


class SignIn(BaseModel):
    name: Name


def name_in(cookies: Mapping[str, str]) -> str | None:
    """Return the name that the cookie was signed for; None without a cookie, or with one that is not ours or is old."""
    try:
        return str(_signer().loads(cookies.get(COOKIE, ""), max_age=MAX_AGE))
    except BadSignature:
        return None


async def signed_in(request: Request) -> User:
    """Let the endpoint, and the jobs that it queues, know the user. It is `async def`, or they would not."""
    name = name_in(request.cookies)
    if name is None:
        raise HTTPException(401, "Sign in first.")
    return await authenticated(name)


SignedIn: TypeAlias = Annotated[User, Depends(signed_in)]


@router.get("/me")
async def me(request: Request) -> dict[str, str | None]:
    return {"name": name_in(request.cookies)}


@router.post("/sign-in", status_code=204)
async def sign_in(data: SignIn, request: Request, response: Response) -> None:
    response.set_cookie(
        COOKIE,
        _signer().dumps(data.name),
        max_age=MAX_AGE,
        httponly=True,
        samesite="lax",
        secure=request.url.scheme == "https",
    )


@router.post("/sign-out", status_code=204)
async def sign_out(response: Response) -> None:
    response.delete_cookie(COOKIE)


@lru_cache
def _signer() -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(os.environ.get("EXAMPLE_SECRET") or _shared_secret(), salt="sign in")


def _shared_secret() -> str:
    """
    Return the secret of all nodes that share the data folder; the first to need one makes it.

    Never a constant, which everybody could read here. Nodes on several machines need EXAMPLE_SECRET.
    """
    secret = DATA / "secret"
    with NamedTemporaryFile("w", dir=DATA) as file:  # which only we may read
        file.write(token_hex(32))
        file.flush()
        with suppress(FileExistsError):
            os.link(file.name, secret)  # whole or not at all, where two nodes start together
    return secret.read_text()
