"""How is telling built, and a test message made?"""

import random
import socket

from syncd import __version__, logs
from syncd.alarms import shapes
from syncd.alarms.telling import Telling
from syncd.api.webhooks import Webhooks
from syncd.config.settings import NotifySettings, Settings
from syncd.sync.alarm import TESTING, Alarm, Told


def telling(settings: Settings) -> Telling:
    """All receivers of the config; nothing is remembered until it has a book."""
    made = Telling(
        post=Webhooks(),
        log=logs,
        hide=logs.hidden,
        host=socket.gethostname(),
        version=__version__,
        rng=random.Random(),  # noqa: S311 - jitter is no secret
    )
    made.follow(settings)
    return made


async def test_message(receiver: NotifySettings) -> None:
    """Send one that wakes nobody; raises NotDelivered."""
    post = Webhooks()
    message = shapes.message(
        Told(alarm=Alarm(TESTING), state="test", at=0.0, since=0.0, reason=""),
        receiver,
        now=post.wall(),
        host=socket.gethostname(),
        version=__version__,
        hide=logs.hidden,
    )
    await post.deliver(receiver, message)
