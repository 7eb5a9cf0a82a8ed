"""Django Channels with the pub/sub layer of channels_redis: a group for each user, each hundred, and the topic."""

import os
from typing import Any
from urllib.parse import parse_qs

import django
from django.conf import settings

settings.configure(
    SECRET_KEY="of a benchmark",
    CHANNEL_LAYERS={
        "default": {
            "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
            "CONFIG": {"hosts": [os.environ["QRSOCKET_REDIS_URL"]]},
        }
    },
)
django.setup()

# Django must be set up before these.
from asgiref.sync import async_to_sync  # noqa: E402
from channels.generic.websocket import AsyncJsonWebsocketConsumer  # noqa: E402
from channels.layers import get_channel_layer  # noqa: E402
from channels.routing import ProtocolTypeRouter  # noqa: E402

from bench.peers.groups import group_of, groups_of  # noqa: E402
from bench.publisher import Send, Target  # noqa: E402


class Consumer(AsyncJsonWebsocketConsumer):
    async def connect(self) -> None:
        query = parse_qs(self.scope["query_string"].decode())
        for group in groups_of(query["user"][0], query.get("topic", [""])[0]):
            await self.channel_layer.group_add(group, self.channel_name)
        await self.accept()

    async def message(self, event: dict[str, Any]) -> None:
        await self.send_json(event["data"])


app = ProtocolTypeRouter({"websocket": Consumer.as_asgi()})


def sender(_: str) -> Send:
    layer = get_channel_layer()

    def send(to: Target, message: dict[str, object]) -> None:
        async_to_sync(layer.group_send)(group_of(to), {"type": "message", "data": message})

    return send
