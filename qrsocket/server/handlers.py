"""What an application has registered on one router."""

from dataclasses import dataclass, field

from qrsocket.server.inbound import MessageHandler
from qrsocket.server.parameters import Function
from qrsocket.server.patterns import TopicHandler


@dataclass(slots=True)
class Handlers:
    """
    Attributes:
        for_text, for_binary: Handlers of messages, by the kind of frame.
        on_join, on_leave: In the order in which they were registered: the first that fits a topic counts.
    """

    on_connect: Function | None = None
    authenticate: MessageHandler | None = None
    for_text: MessageHandler | None = None
    for_binary: MessageHandler | None = None
    on_join: list[TopicHandler] = field(default_factory=list)
    on_leave: list[TopicHandler] = field(default_factory=list)
    on_online: list[Function] = field(default_factory=list)
    on_offline: list[Function] = field(default_factory=list)
