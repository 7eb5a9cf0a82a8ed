"""The page and its files. Nothing on it comes from elsewhere, and the browser is told so."""

from pathlib import Path
from typing import Literal

from fastapi import APIRouter
from fastapi.responses import FileResponse

FOLDER = Path(__file__).parent / "page"
HEADERS = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": "default-src 'none'; connect-src 'self'; img-src 'self'; script-src 'self'; "
    "style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

router = APIRouter(include_in_schema=False)


@router.get("/")
async def page() -> FileResponse:
    return FileResponse(FOLDER / "page.html", headers=HEADERS)


@router.get("/page/{name}")
async def part(
    name: Literal["icon.svg", "page.css", "page.js", "people.js", "chat.js", "jobs.js", "uploads.js", "card.js"],
) -> FileResponse:
    return FileResponse(FOLDER / name, headers=HEADERS)
