"""A RabbitMQ of its own, on loopback, as root too; Debian's package `rabbitmq-server` has it."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from qrsocket.testing.processes import Running
from tests.tools.ports import free_port

# Not the one on the PATH, which wants to run as a user of its own.
SERVER = "/usr/lib/rabbitmq/bin/rabbitmq-server"
EPMD = "/usr/bin/epmd"
LOOPBACK = "127.0.0.1"
# It takes its time, and more where others want the machine.
START_TIMEOUT = 120.0


def is_installed() -> bool:
    return shutil.which(SERVER) is not None and shutil.which(EPMD) is not None


@contextmanager
def rabbitmq() -> Iterator[str]:
    """Run it, and yield its address for Celery."""
    port, names_port = free_port(), free_port()
    with tempfile.TemporaryDirectory(prefix="rabbitmq-", ignore_cleanup_errors=True) as folder:
        env = {
            "HOME": folder,  # of its cookie
            "RABBITMQ_NODENAME": f"tests{port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": LOOPBACK,
            "RABBITMQ_NODE_PORT": str(port),
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_MNESIA_BASE": f"{folder}/mnesia",
            "RABBITMQ_LOG_BASE": folder,
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_CONF_ENV_FILE": f"{folder}/none",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{folder}/none",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
            "ERL_EPMD_ADDRESS": LOOPBACK,
            "ERL_EPMD_PORT": str(names_port),
        }
        # Erlang would start it by itself, and leave it behind.
        names = Running("epmd", [EPMD, "-debug", "-address", LOOPBACK, "-port", str(names_port)], env)
        try:
            names.wait_for("epmd running")
            server = Running("rabbitmq", [SERVER], env)
            try:
                server.wait_for("Server startup complete", timeout=START_TIMEOUT)
                yield f"amqp://guest:guest@{LOOPBACK}:{port}//"
            finally:
                server.kill()
                server.stop()
        finally:
            names.stop()
