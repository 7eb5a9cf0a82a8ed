"""From this node's channel to its sockets. Never waits for a client, never parses a message."""

import logging
from collections.abc import Callable

from qrsocket.fanout.publish import Frame
from qrsocket.fanout.subscription import Subscription
from qrsocket.message import Kind
from qrsocket.server.hub import Hub

logger = logging.getLogger(__name__)


async def relay(subscription: Subscription, hub: Hub, on_probe: Callable[[str], None]) -> None:
    """
    Deliver what is published to this node, without end.

    Args:
        on_probe: Gets the id of a probe of `qrsocket doctor`; must not block.
    """

    def on_frame(data: bytes) -> None:
        try:
            frame = Frame.parse(data)
            if frame.kind is Kind.PROBE:
                on_probe(frame.message_id)
            else:
                hub.deliver(frame)
        except Exception:
            # One frame that we cannot read, from a newer version say, must not make every socket deaf.
            logger.exception("frame dropped", extra={"size_bytes": len(data)})

    await subscription.run(on_frame)
