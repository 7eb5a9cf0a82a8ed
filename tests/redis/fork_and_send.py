"""
A program that has sent, then forks children that all send at once. Not a test.

Usage: fork_and_send.py fork|multiprocessing blocking|awaiting CHILDREN MESSAGES

Child n sends MESSAGES messages to user n. Prints a line of JSON for each: child, message id, connections.
"""

import asyncio
import json
import multiprocessing
import os
import sys
from collections.abc import Callable

import qrsocket
from qrsocket import sync
from qrsocket.message import Delivery


def send_blocking(child: int, messages: int) -> list[Delivery]:
    return [sync.socket.to(child).send(number) for number in range(messages)]


def send_awaiting(child: int, messages: int) -> list[Delivery]:
    async def send() -> list[Delivery]:
        return list(await asyncio.gather(*(qrsocket.socket.to(child).send(number) for number in range(messages))))

    return asyncio.run(send())


def work(send: Callable[[int, int], list[Delivery]], child: int, messages: int) -> None:
    deliveries = send(child, messages)
    lines = [json.dumps([child, delivery.message_id, delivery.connections]) for delivery in deliveries]
    os.write(1, "".join(f"{line}\n" for line in lines).encode())  # in one piece: the children share the pipe


def fork(send: Callable[[int, int], list[Delivery]], children: int, messages: int) -> None:
    for child in range(1, children + 1):
        if os.fork() == 0:
            work(send, child, messages)
            os._exit(0)
    for _ in range(children):
        os.wait()


def spawn_by_multiprocessing(send: Callable[[int, int], list[Delivery]], children: int, messages: int) -> None:
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=work, args=(send, child, messages)) for child in range(1, children + 1)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()


if __name__ == "__main__":
    start = fork if sys.argv[1] == "fork" else spawn_by_multiprocessing
    send = send_blocking if sys.argv[2] == "blocking" else send_awaiting
    work(send, 0, 3)  # the parent has open connections and has counted
    start(send, int(sys.argv[3]), int(sys.argv[4]))
    work(send, 0, 3)
