"""The web application: one page, a sign-in, and the socket with its jobs."""

from fastapi import FastAPI

from api import auth, imports, pages, sockets

app = FastAPI(title="qrsocket example", docs_url=None, redoc_url=None)  # their pages load scripts from elsewhere
app.include_router(pages.router)
app.include_router(auth.router)
app.include_router(imports.router)
app.include_router(sockets.router)
