"""Stands in for an `ApiClient`, without a socket."""

from typing import Any

import attrs
import httpx

from syncd.api.exchange import Answer, Ask
from syncd.api.shown import Redactor
from tests.unit.survey.apis import HOST, Api, serve


@attrs.define(eq=False, slots=False)
class Client:
    """The API answers as its documentation says."""

    api: Api
    settings: Any = None
    redactor: Redactor = attrs.field(factory=Redactor)
    asked: list[str] = attrs.field(factory=list)

    def url(self, ask: Ask) -> str:
        return str(httpx.URL(HOST + ask.path).copy_merge_params(dict(ask.params)))

    async def send(self, ask: Ask, _: object) -> Answer:
        url = self.url(ask)
        self.asked.append(url)
        status, headers, body = serve(self.api, ask.method, url, ask.body)
        return Answer(status=status, headers=headers, body=body)
