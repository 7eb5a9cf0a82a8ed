"""What tests of an application are written with: a client of the real thing, and processes to run and to break."""

from qrsocket.testing.client import Client
from qrsocket.testing.connecting import client
from qrsocket.testing.jobs import Job
from qrsocket.testing.joined import JoinedTopic, RequestFailed
from qrsocket.testing.opening import Refused
from qrsocket.testing.processes import Running, WebNode, web_node, worker
from qrsocket.testing.redis_server import RedisServer

__all__ = [
    "Client",
    "Job",
    "JoinedTopic",
    "RedisServer",
    "Refused",
    "RequestFailed",
    "Running",
    "WebNode",
    "client",
    "web_node",
    "worker",
]
