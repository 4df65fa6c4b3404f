"""One request of a survey, made by the client that the daemon has, too."""

import json

import attrs

from syncd.api.auth.bought import NoPermit
from syncd.api.client import ApiClient
from syncd.api.exchange import Ask
from syncd.errors import AccessDenied
from syncd.survey.asking import Reply, Request

HOW = (
    "Give credentials: --bearer-env NAME, --basic-env USER PASSWORD, "
    "--api-key-env NAME --api-key-header HEADER, or --client-env ID SECRET --token-url URL; "
    "each names environment variables"
)


@attrs.define(eq=False)
class Fetching:
    """Fulfils `asking.Fetch`; `Asking` is who counts."""

    client: ApiClient

    async def __call__(self, request: Request) -> Reply:
        ask = self._ask(request)
        try:
            answer = await self.client.send(ask, NoPermit())
        except AccessDenied as error:
            given = self.client.settings.auth is not None or self.client.settings.headers
            raise AccessDenied(
                error.reason, hint="The API does not take these credentials" if given else HOW
            ) from None
        return Reply(
            status=answer.status,
            headers=answer.headers,
            body=answer.body,
            url=self.client.url(ask),
        )

    def _ask(self, request: Request) -> Ask:
        place, body = request.place, None
        params = dict(place.params)
        if place.body is not None:
            body = json.dumps({**place.body, **request.params}, ensure_ascii=False).encode()
        else:
            params |= {name: str(value) for name, value in request.params.items()}
        return Ask(
            method="GET" if place.body is None else "POST",
            path=place.path if request.address is None else request.address,
            rooted=request.address is not None,
            params=params if request.address is None else {},
            headers={} if body is None else {"Content-Type": "application/json"},
            body=body,
        )
