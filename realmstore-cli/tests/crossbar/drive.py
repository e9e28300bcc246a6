"""The clients of the tests beside a running Crossbar.io.

    drive.py URL

Joins the realm "realm1" with four clients, of which three subscribe, and prints a
line of JSON: who is there, and which subscriptions there are. Then publishes one
round for each line that comes on standard input, and prints what was published (in
the order in which the router took it) and what was delivered: subscription,
publication, receiver. Leaves at the end of its input.
"""

import asyncio
import base64
import itertools
import json
import sys

import txaio

txaio.use_asyncio()

from autobahn.asyncio.wamp import ApplicationSession
from autobahn.asyncio.websocket import WampWebSocketClientFactory
from autobahn.wamp.serializer import CBORSerializer
from autobahn.wamp.types import ComponentConfig, PublishOptions, SubscribeOptions
from autobahn.websocket.util import parse_url

SECONDS = 20
"""How long the router may take for one thing."""

SECONDS_IN_ALL = 80


class Client(ApplicationSession):
    """A client that notes what it gets, in the order in which it gets it."""

    def __init__(self, authid):
        super().__init__(ComponentConfig("realm1"))
        self.authid_wanted = authid
        self.joined = asyncio.get_running_loop().create_future()
        self.gone = asyncio.get_running_loop().create_future()
        self.subscriptions = []
        self.deliveries = []

    def onConnect(self):
        if self.authid_wanted:
            self.join("realm1", ["ticket"], self.authid_wanted)
        else:
            self.join("realm1", ["anonymous"])

    def onChallenge(self, challenge):
        return "secret"

    def onJoin(self, details):
        self.joined.set_result(details)

    def onLeave(self, details):
        if not self.joined.done():
            self.joined.set_exception(RuntimeError(details))
        self.disconnect()

    def onDisconnect(self):
        self.gone.set_result(None)

    async def follow(self, topic, match):
        """Subscribes, and notes what is delivered, with the number that each message has."""

        def deliver(*args, details, **kwargs):
            self.deliveries.append([subscription.id, details.publication, self._session_id, kwargs["number"]])

        subscription = await self.subscribe(deliver, topic, SubscribeOptions(match=match, details=True))
        self.subscriptions.append({"subscription": subscription.id, "topic": topic, "match": match})

    async def roundtrip(self):
        """Returns once the router has worked off what this client sent, and this client has got what was dispatched."""
        await self.call("wamp.session.count")


async def connect(url, authid=None):
    _, host, port, *_ = parse_url(url)
    client = Client(authid)
    factory = WampWebSocketClientFactory(lambda: client, url=url, serializers=[CBORSerializer()])
    await asyncio.get_running_loop().create_connection(factory, host, port)
    details = await asyncio.wait_for(client.joined, SECONDS)
    who = {"session": details.session, "authid": details.authid, "authrole": details.authrole,
           "authmethod": details.authmethod, "authprovider": details.authprovider}
    return client, who


def messages(round, clients, acknowledge):
    """What a round publishes: client, topic, arguments, options."""
    alice, bob, anonymous, publisher = clients
    nobody = [1234567, 2345678, 3456789]
    a, b, elsewhere = "com.example.a", "com.example.b.c", "org.example.not_recorded"
    yield alice, a, ["plain"], {}
    yield alice, a, [], {"exclude_me": False}
    yield publisher, b, [round, -1, 2**53, 0.5, True, None, "✓ü\x00"], {}
    yield publisher, b, [b"\x00\xff", b""], {}
    yield publisher, b, [{"deep": [[], {}, [1, {"x": None}]]}, "x" * 300], {"exclude_me": True}
    yield publisher, elsewhere, ["nobody records this"], {}
    # Many pages of the file, so that it grows.
    yield bob, a, ["large" * 40_000], {}
    # Lists of an odd and of an even length, on topics of several lengths: cfxdb loses some of these.
    for length in range(1, 4):
        yield publisher, a, [length], {"exclude": nobody[:length]}
        yield publisher, b, [length], {"exclude": [alice._session_id] + nobody[1:length]}
        yield publisher, f"com.example.{'t' * length}", [length], {"exclude": nobody[:length], "exclude_me": False}
        yield publisher, a, [length], {"eligible": [bob._session_id, anonymous._session_id, alice._session_id][:length]}
    yield publisher, a, [], {"eligible_authid": ["alice", "bob"], "exclude_authid": ["bob"],
                             "exclude_authrole": ["backend"]}
    yield publisher, b, [], {"eligible_authrole": ["anonymous"]}
    if acknowledge:
        # Recorded, and dispatched to nobody: only the acknowledgement tells the ID.
        yield publisher, a, ["for nobody"], {"eligible": nobody[:2]}


async def publish(round, clients, numbers):
    """Publishes one message after the other, each with an acknowledgement and without."""
    published = []
    for acknowledge in (True, False):
        for client, topic, args, options in messages(round, clients, acknowledge):
            number = next(numbers)
            answer = client.publish(topic, *args, options=PublishOptions(acknowledge=acknowledge, **options),
                                    number=number, round=f"round {round}")
            if acknowledge:
                answer = await asyncio.wait_for(answer, SECONDS)
            else:
                await asyncio.wait_for(client.roundtrip(), SECONDS)
            published.append({"publication": answer.id if acknowledge else None, "topic": topic, "args": args,
                              "kwargs": {"number": number, "round": f"round {round}"},
                              "publisher": client._session_id, "acknowledge": acknowledge, **options})
    deliveries = []
    for client in clients:
        await asyncio.wait_for(client.roundtrip(), SECONDS)
        deliveries += client.deliveries
        client.deliveries.clear()
    # The ID of what was not acknowledged is known to those who got it.
    known = {number: publication for _, publication, _, number in deliveries}
    for message in published:
        message["publication"] = message["publication"] or known[message["kwargs"]["number"]]
    return {"published": published, "deliveries": [delivery[:3] for delivery in deliveries]}


def say(value):
    # WAMP's way to have byte strings in JSON.
    print(json.dumps(value, default=lambda data: "\0" + base64.b64encode(data).decode()), flush=True)


async def main(url):
    joined = [await connect(url, authid) for authid in ("alice", "bob", None, "publisher")]
    alice, bob, anonymous, _ = clients = [client for client, _ in joined]
    await alice.follow("com.example.a", "exact")
    await alice.follow("com.example.", "prefix")
    await bob.follow("com.example.a", "exact")
    await bob.follow("com.example.b.c", "exact")
    await bob.follow("org.example.not_recorded", "exact")
    await anonymous.follow("com.example.", "prefix")
    await anonymous.follow("com.example..c", "wildcard")
    subscriptions = {each["subscription"]: each for client in clients for each in client.subscriptions}
    say({"sessions": [who for _, who in joined], "subscriptions": list(subscriptions.values())})

    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    numbers = itertools.count(1)
    for round in itertools.count(1):
        if not await lines.readline():
            break
        say(await publish(round, clients, numbers))
    for client in clients:
        client.leave()
        await asyncio.wait_for(client.gone, SECONDS)


if len(sys.argv) != 2:
    sys.exit(__doc__)
asyncio.run(asyncio.wait_for(main(sys.argv[1]), SECONDS_IN_ALL))
