"""`qrsocket serve` and its options: what people read with --help."""

import os
import ssl
import sys
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import typer

from qrsocket.cli.failed import Failed, failing_in_one_line, read_settings
from qrsocket.cli.ports import check_free
from qrsocket.cli.target import check_target

Level: TypeAlias = Literal["critical", "error", "warning", "info", "debug", "trace"]
File: TypeAlias = Path | None

LISTENING, PROXY, STOPPING, LOADING = "Where it listens", "Behind a proxy", "How it stops", "What it runs"


def serve(
    target: Annotated[str, typer.Argument(metavar="MODULE:APP", help="The application.")],
    factory: Annotated[
        bool, typer.Option("--factory", help="MODULE:APP is a function that returns it.", rich_help_panel=LOADING)
    ] = False,
    app_dir: Annotated[
        Path, typer.Option(help="Folder that holds the module.", file_okay=False, exists=True, rich_help_panel=LOADING)
    ] = Path(),
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Processes, each a web node. [1, or $WEB_CONCURRENCY]", rich_help_panel=LOADING),
    ] = None,
    log_level: Annotated[Level, typer.Option(help="Least grave lines to log.", rich_help_panel=LOADING)] = "info",
    access_log: Annotated[
        bool, typer.Option(help="Log each request, without the queries of sockets.", rich_help_panel=LOADING)
    ] = True,
    host: Annotated[
        str, typer.Option(help="Address; 0.0.0.0 for all of this machine.", rich_help_panel=LISTENING)
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0: a free one.", rich_help_panel=LISTENING)] = 8000,
    uds: Annotated[File, typer.Option(help="Unix socket, in place of a port.", rich_help_panel=LISTENING)] = None,
    fd: Annotated[
        int | None,
        typer.Option(min=0, help="Descriptor of a socket that it inherits, of systemd say.", rich_help_panel=LISTENING),
    ] = None,
    ssl_certfile: Annotated[
        File, typer.Option(exists=True, dir_okay=False, help="Certificate, for https.", rich_help_panel=LISTENING)
    ] = None,
    ssl_keyfile: Annotated[
        File,
        typer.Option(exists=True, dir_okay=False, help="Its key, if not in one file.", rich_help_panel=LISTENING),
    ] = None,
    proxy_headers: Annotated[
        bool, typer.Option(help="Believe X-Forwarded-For and -Proto of those below.", rich_help_panel=PROXY)
    ] = True,
    forwarded_allow_ips: Annotated[
        str | None,
        typer.Option(
            help="Addresses of proxies, with commas. Never * where others can reach it. "
            "[127.0.0.1,::1, or $FORWARDED_ALLOW_IPS]",
            rich_help_panel=PROXY,
        ),
    ] = None,
    root_path: Annotated[
        str, typer.Option(help="Path that the proxy strips, for links of /docs.", rich_help_panel=PROXY)
    ] = "",
    drain_seconds: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="Seconds over which clients are closed. What stops it must wait 20 s longer before it kills. "
            "[10, or $QRSOCKET_DRAIN_SECONDS]",
            rich_help_panel=STOPPING,
        ),
    ] = None,
) -> None:
    """
    Serve the application for real: one web node, or several with --workers.

    On SIGTERM, or Ctrl-C, `…/ready` answers 503 and new sockets are refused. Clients are closed a few at a time, each
    told when to come back, and get on another node what they missed; where no other node is, all at once. A second
    signal ends the process at once.

    [bold]Examples[/bold]

      qrsocket serve main:app --host 0.0.0.0
      qrsocket serve main:app --workers 4 --forwarded-allow-ips 10.0.0.2
      qrsocket serve main:create_app --factory --app-dir src --drain-seconds 30
    """
    with failing_in_one_line():
        check_target(target, "MODULE:APP", "uvicorn", "web")
        _check_certificate(ssl_certfile, ssl_keyfile)
        if uds is not None and not uds.absolute().parent.is_dir():
            raise Failed(f"cannot listen on {uds}: there is no folder {uds.absolute().parent}")
        if uds is None and fd is None:
            check_free(host, port)
        if drain_seconds is not None:
            os.environ["QRSOCKET_DRAIN_SECONDS"] = str(drain_seconds)
        read_settings()  # not before: they are read once
        sys.path.insert(0, str(app_dir.absolute()))
        from qrsocket.cli.serving import Config, run

        config = Config(
            target,
            factory=factory,
            workers=workers,
            log_level=log_level,
            access_log=access_log,
            host=host,
            port=port,
            uds=None if uds is None else str(uds),
            fd=fd,
            ssl_certfile=ssl_certfile,
            ssl_keyfile=ssl_keyfile,
            proxy_headers=proxy_headers,
            forwarded_allow_ips=forwarded_allow_ips,
            root_path=root_path,
        )
        run(config)


def _check_certificate(certificate: File, key: File) -> None:
    if certificate is None:
        if key is not None:
            raise Failed("--ssl-keyfile is the key of a certificate: name that with --ssl-certfile")
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
    except OSError as error:  # ssl.SSLError is one
        raise Failed(f"cannot use the certificate {certificate} with the key {key or certificate}: {error}") from None
