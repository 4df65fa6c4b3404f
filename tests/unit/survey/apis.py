"""Well-known APIs as their public documentation describes their lists; none was ever asked.

Each serves records of its own kind: the envelope, the parameters with their defaults and
limits, the headers, and what the last page looks like are those of the documentation.  Query
parameters that an API does not document are ignored, or refused where it says so.
"""

import base64
import datetime as dt
import json
import urllib.parse
import uuid
from collections.abc import Callable, Mapping
from typing import Any

import attrs

HOST = "https://api.shop.example"
Query = Mapping[str, str]
Page = tuple[int, dict[str, str], Any]
"""Status, headers, body."""

Answer = Callable[[list[dict[str, Any]], Query, Mapping[str, Any], str], Page]
"""Of a list, a query, a JSON body, and the path."""


@attrs.frozen(kw_only=True)
class Api:
    """One list of one API."""

    name: str
    path: str
    record: Callable[[int], dict[str, Any]]
    answer: Answer
    many: int = 257
    body: Mapping[str, Any] | None = None
    params: Mapping[str, str] = attrs.field(factory=dict)
    """In the address."""

    kind: str
    """What `page.kind` should be."""

    key: tuple[str, ...] = ("id",)
    types: Mapping[str, str] = attrs.field(factory=dict)
    """Some columns, with the types that they should have."""

    records: str = ""

    def all(self) -> list[dict[str, Any]]:
        return [self.record(n) for n in range(1, self.many + 1)]


def when(n: int) -> str:
    moment = dt.datetime(2024, 1, 1, tzinfo=dt.UTC) + dt.timedelta(hours=n)
    return moment.isoformat().replace("+00:00", "Z")


def limited(query: Mapping[str, Any], name: str, default: int, most: int) -> int:
    return max(1, min(int(query.get(name, default)), most))


def token(number: int) -> str:
    """Opaque to whoever gets it."""
    return base64.urlsafe_b64encode(f"at:{number}".encode()).decode()


def of_token(text: str) -> int:
    return int(base64.urlsafe_b64decode(text).decode().partition(":")[2])


def address(path: str, query: Mapping[str, Any]) -> str:
    return f"{HOST}{path}?{urllib.parse.urlencode(query)}"


# --- GitHub, GitLab, Shopify: the Link header ----------------------------------------------


def _linked(default: int, most: int, extra: Callable[..., dict[str, str]] | None = None) -> Answer:
    def answer(all_: list[Any], query: Query, _: Mapping[str, Any], path: str) -> Page:
        size, number = limited(query, "per_page", default, most), int(query.get("page", 1))
        here = all_[(number - 1) * size : number * size]
        links = []
        if number * size < len(all_):
            links.append(f'<{address(path, {**query, "page": number + 1})}>; rel="next"')
        if number > 1:
            links.append(f'<{address(path, {**query, "page": 1})}>; rel="first"')
        headers = {"link": ", ".join(links)} if links else {}
        return 200, headers | (extra(number, size, all_) if extra else {}), here

    return answer


def _github_issue(n: int) -> dict[str, Any]:
    return {
        "id": 2_000_000_000 + n,
        "node_id": f"I_kwDO{n}",
        "url": f"{HOST}/repos/o/r/issues/{n}",
        "number": n,
        "state": "open" if n % 3 else "closed",
        "title": f"Found a bug {n}",
        "body": None if n % 4 else "I'm having a problem with this.",
        "user": {"login": "octocat", "id": 1, "site_admin": False},
        "labels": [{"id": 208045946, "name": "bug", "default": True}],
        "locked": n % 2 == 0,
        "comments": n % 7,
        "closed_at": None if n % 3 else when(n + 5),
        "created_at": when(n),
        "updated_at": when(n + 2),
    }


def _gitlab_headers(number: int, size: int, all_: list[Any]) -> dict[str, str]:
    more = number * size < len(all_)
    return {"x-next-page": str(number + 1) if more else "", "x-total": str(len(all_))}


def _gitlab(n: int) -> dict[str, Any]:
    return {"id": n, "iid": n, "title": f"t{n}", "due_date": None if n % 2 else "2024-02-29",
            "weight": None, "updated_at": when(n), "web_url": f"{HOST}/{n}"}  # fmt: skip


def _shopify(all_: list[Any], query: Query, _: Mapping[str, Any], path: str) -> Page:
    size = limited(query, "limit", 50, 250)
    at = of_token(query["page_info"]) if "page_info" in query else 0
    headers = {"x-shopify-shop-api-call-limit": "1/40"}
    if at + size < len(all_):
        onward = address(path, {"limit": size, "page_info": token(at + size)})
        headers["link"] = f'<{onward}>; rel="next"'
    return 200, headers, {"orders": all_[at : at + size]}


def _shopify_order(n: int) -> dict[str, Any]:
    return {
        "id": 450789469 + n,
        "admin_graphql_api_id": f"gid://shopify/Order/{450789469 + n}",
        "email": "bob@example.com",
        "total_price": f"{n}.94",
        "currency": "USD",
        "test": False,
        "confirmed": True,
        "order_number": 1000 + n,
        "note": "" if n % 3 else "gift",
        "line_items": [{"id": n, "price": "199.00"}],
        "created_at": f"2024-01-{n % 28 + 1:02}T11:00:00-05:00",
        "updated_at": f"2024-02-{n % 28 + 1:02}T11:00:00-05:00",
    }


# --- Stripe: a flag, and the last object's id ----------------------------------------------


def _stripe(all_: list[Any], query: Query, _: Mapping[str, Any], path: str) -> Page:
    if wrong := query.keys() - {"limit", "starting_after", "ending_before"}:
        error = {"message": f"Received unknown parameter: {wrong}", "type": "invalid_request_error"}
        return 400, {}, {"error": error}
    size, at = limited(query, "limit", 10, 100), 0
    if "starting_after" in query:
        at = [one["id"] for one in all_].index(query["starting_after"]) + 1
    more = at + size < len(all_)
    return 200, {}, {"object": "list", "url": path, "has_more": more, "data": all_[at : at + size]}


def _charge(n: int) -> dict[str, Any]:
    return {"id": f"ch_3MmlLrLkdIwHu7ix{n:06}", "object": "charge", "amount": 1099 + n,
            "created": 1679090539 + n, "currency": "usd", "livemode": False, "metadata": {},
            "paid": True, "description": None}  # fmt: skip


# --- cursors in the body ----------------------------------------------------------------------


def _hubspot(all_: list[Any], query: Query, _: Mapping[str, Any], path: str) -> Page:
    size, at = limited(query, "limit", 10, 100), int(query.get("after", 0))
    found: dict[str, Any] = {"results": all_[at : at + size]}
    if at + size < len(all_):
        onward = {**query, "limit": size, "after": at + size}
        found["paging"] = {"next": {"after": str(at + size), "link": address(path, onward)}}
    return 200, {}, found


def _contact(n: int) -> dict[str, Any]:
    return {
        "id": str(n),
        "properties": {
            "createdate": when(n),
            "email": f"maria.{n}@example.com",
            "hs_object_id": str(n),
            "lastmodifieddate": when(n + 1),
            "lastname": "Johnson" if n % 2 else None,
        },
        "createdAt": when(n),
        "updatedAt": when(n + 1),
        "archived": False,
    }


def _slack(all_: list[Any], query: Query, _: Mapping[str, Any], path: str) -> Page:
    size = limited(query, "limit", 100, 1000)
    at = of_token(query["cursor"]) if query.get("cursor") else 0
    onward = token(at + size) if at + size < len(all_) else ""
    found = {"ok": True, "channels": all_[at : at + size]}
    return 200, {}, {**found, "response_metadata": {"next_cursor": onward}}


def _channel(n: int) -> dict[str, Any]:
    return {"id": f"C{n:08}", "name": f"general-{n}", "is_channel": True, "created": 1449252889 + n,
            "topic": {"value": "", "last_set": 0}, "num_members": n % 50}  # fmt: skip


def _notion(all_: list[Any], query: Query, body: Mapping[str, Any], path: str) -> Page:
    if body.keys() - {"filter", "sorts", "start_cursor", "page_size"} or query:
        return 400, {}, {"object": "error", "status": 400, "code": "validation_error"}
    size = limited(body, "page_size", 100, 100)
    at = of_token(body["start_cursor"]) if "start_cursor" in body else 0
    more = at + size < len(all_)
    return (
        200,
        {},
        {
            "object": "list",
            "results": all_[at : at + size],
            "next_cursor": token(at + size) if more else None,
            "has_more": more,
            "type": "page_or_database",
            "page_or_database": {},
        },
    )


def _notion_page(n: int) -> dict[str, Any]:
    return {"object": "page", "id": str(uuid.UUID(int=n)), "created_time": when(n),
            "last_edited_time": when(n), "archived": False,
            "properties": {"Name": {"id": "title", "type": "title", "title": []}}}  # fmt: skip


def _airtable(all_: list[Any], query: Query, _: Mapping[str, Any], path: str) -> Page:
    size = limited(query, "pageSize", 100, 100)
    if "/" not in query.get("offset", "/"):
        return 422, {}, {"error": {"type": "LIST_RECORDS_ITERATOR_NOT_AVAILABLE"}}
    at = of_token(query["offset"].partition("/")[2]) if "offset" in query else 0
    found: dict[str, Any] = {"records": all_[at : at + size]}
    if at + size < len(all_):
        found["offset"] = f"itr23sEjsdfEr3282/{token(at + size)}"
    return 200, {}, found


def _airtable_record(n: int) -> dict[str, Any]:
    fields = {"Address": f"{n} Union Square", "Visited": True} if n % 3 else {"Address": "x"}
    return {"id": f"rec{n:014}", "createdTime": when(n), "fields": fields}


def _google(all_: list[Any], query: Query, _: Mapping[str, Any], path: str) -> Page:
    size = limited(query, "maxResults", 50, 2500)
    at = of_token(query["pageToken"]) if "pageToken" in query else 0
    found = {"kind": "calendar#events", "items": all_[at : at + size], "timeZone": "UTC"}
    if at + size < len(all_):
        found["nextPageToken"] = token(at + size)
    return 200, {}, found


def _event(n: int) -> dict[str, Any]:
    return {"kind": "calendar#event", "etag": f'"{n}"', "id": f"ev{n:05}", "status": "confirmed",
            "created": when(n), "updated": when(n), "summary": f"s{n}",
            "start": {"dateTime": when(n)}}  # fmt: skip


def _jira_new(all_: list[Any], query: Query, _: Mapping[str, Any], path: str) -> Page:
    size = limited(query, "maxResults", 50, 5000)
    at = of_token(query["nextPageToken"]) if "nextPageToken" in query else 0
    more = at + size < len(all_)
    found: dict[str, Any] = {"issues": all_[at : at + size], "isLast": not more}
    return 200, {}, found | ({"nextPageToken": token(at + size)} if more else {})


def _issue(n: int) -> dict[str, Any]:
    return {"expand": "", "id": str(10000 + n), "self": f"{HOST}/rest/api/3/issue/{10000 + n}",
            "key": f"ED-{n}", "fields": {"summary": f"s{n}", "updated": when(n)}}  # fmt: skip


def _intercom(all_: list[Any], query: Query, _: Mapping[str, Any], path: str) -> Page:
    size = limited(query, "per_page", 50, 150)
    at = of_token(query["starting_after"]) if "starting_after" in query else 0
    pages: dict[str, Any] = {"type": "pages", "page": at // size + 1, "per_page": size}
    if at + size < len(all_):
        pages["next"] = {"page": at // size + 2, "starting_after": token(at + size)}
    found = {"type": "list", "data": all_[at : at + size], "total_count": len(all_)}
    return 200, {}, {**found, "pages": pages}


# --- addresses in the body ----------------------------------------------------------------------


def _zendesk(all_: list[Any], query: Query, _: Mapping[str, Any], path: str) -> Page:
    size, number = limited(query, "per_page", 100, 100), int(query.get("page", 1))
    more = number * size < len(all_)
    onward = address(path, {**query, "page": number + 1}) if more else None
    here = all_[(number - 1) * size : number * size]
    found = {"tickets": here, "next_page": onward, "previous_page": None, "count": len(all_)}
    return 200, {"x-rate-limit": "700", "x-rate-limit-remaining": "699"}, found


def _zendesk_cursor(all_: list[Any], query: Query, _: Mapping[str, Any], path: str) -> Page:
    size = limited(query, "page[size]", 100, 100)
    at = of_token(query["page[after]"]) if "page[after]" in query else 0
    more = at + size < len(all_)
    onward = {"page[size]": size, "page[after]": token(at + size)}
    links = {"prev": None, "next": address(path, onward) if more else None}
    meta = {"has_more": more, "after_cursor": token(at + size), "before_cursor": token(at)}
    return 200, {}, {"tickets": all_[at : at + size], "meta": meta, "links": links}


def _ticket(n: int) -> dict[str, Any]:
    return {"id": n, "url": f"{HOST}/tickets/{n}.json", "external_id": None, "status": "open",
            "subject": f"Help {n}", "tags": ["a"], "via": {"channel": "web"},
            "created_at": when(n), "updated_at": when(n), "has_incidents": False}  # fmt: skip


def _salesforce(all_: list[Any], query: Query, _: Mapping[str, Any], path: str) -> Page:
    base, *rest = path.split("/01gRO-")
    at, size = int(rest[0]) if rest else 0, 200
    more = at + size < len(all_)
    found = {"totalSize": len(all_), "done": not more, "records": all_[at : at + size]}
    return 200, {}, found | ({"nextRecordsUrl": f"{base}/01gRO-{at + size}"} if more else {})


def _account(n: int) -> dict[str, Any]:
    return {"attributes": {"type": "Account", "url": f"/services/data/v60.0/sobjects/Account/{n}"},
            "Id": f"001D000000IRFm{n:04}", "Name": f"Acme {n}", "AnnualRevenue": n * 1000.5,
            "SystemModstamp": f"2024-01-{n % 28 + 1:02}T12:00:00.000+0000"}  # fmt: skip


def _odata(all_: list[Any], query: Query, _: Mapping[str, Any], path: str) -> Page:
    size, at = limited(query, "$top", 100, 999), int(query.get("$skip", 0))
    found: dict[str, Any] = {"@odata.context": f"{HOST}/v1.0/$metadata#users"}
    found["value"] = all_[at : at + size]
    if at + size < len(all_):
        found["@odata.nextLink"] = address(path, {**query, "$skip": at + size})
    return 200, {}, found


def _user(n: int) -> dict[str, Any]:
    return {"id": str(uuid.UUID(int=n)), "displayName": f"User {n}", "businessPhones": [],
            "mail": None, "accountEnabled": True}  # fmt: skip


def _laravel(all_: list[Any], query: Query, _: Mapping[str, Any], path: str) -> Page:
    size, number = 15, int(query.get("page", 1))
    more = number * size < len(all_)
    onward = address(path, {"page": number + 1}) if more else None
    return (
        200,
        {"x-ratelimit-limit": "60", "x-ratelimit-remaining": "58"},
        {
            "current_page": number,
            "data": all_[(number - 1) * size : number * size],
            "first_page_url": address(path, {"page": 1}),
            "last_page": -(-len(all_) // size),
            "next_page_url": onward,
            "per_page": size,
            "prev_page_url": None,
            "total": len(all_),
        },
    )


def _json_api(all_: list[Any], query: Query, _: Mapping[str, Any], path: str) -> Page:
    size, number = limited(query, "page[size]", 20, 100), int(query.get("page[number]", 1))
    links = {"self": address(path, query)}
    if number * size < len(all_):
        links["next"] = address(path, {"page[number]": number + 1, "page[size]": size})
    return 200, {}, {"data": all_[(number - 1) * size : number * size], "links": links}


def _article(n: int) -> dict[str, Any]:
    attributes = {"title": f"JSON:API {n}", "body": "short", "created": when(n), "views": n}
    return {"type": "articles", "id": str(n), "attributes": attributes}


def _twilio(all_: list[Any], query: Query, _: Mapping[str, Any], path: str) -> Page:
    size, number = limited(query, "PageSize", 50, 1000), int(query.get("Page", 0))
    onward = None
    if (number + 1) * size < len(all_):
        onward = address(path, {"PageSize": size, "Page": number + 1}).removeprefix(HOST)
    here = all_[number * size : (number + 1) * size]
    uri = f"{path}?PageSize={size}&Page={number}"
    found = {"messages": here, "page": number, "page_size": size, "uri": uri}
    return 200, {}, {**found, "next_page_uri": onward, "previous_page_uri": None, "end": 49}


def _message(n: int) -> dict[str, Any]:
    return {"sid": f"SM{n:032}", "body": "ahoy", "num_segments": "1", "price": None,
            "date_sent": "Thu, 24 Aug 2023 05:01:45 +0000", "error_code": None}  # fmt: skip


def _asana(all_: list[Any], query: Query, _: Mapping[str, Any], path: str) -> Page:
    size = limited(query, "limit", 50, 100)
    at = of_token(query["offset"]) if "offset" in query else 0
    onward = None
    if at + size < len(all_):
        asked = {"limit": size, "offset": token(at + size)}
        onward = {"offset": token(at + size), "path": path, "uri": address(path, asked)}
    return 200, {}, {"data": all_[at : at + size], "next_page": onward}


def _behind_a_proxy(all_: list[Any], query: Query, _: Mapping[str, Any], path: str) -> Page:
    """The site's own name is another one than that which it is asked by."""
    size, number = 20, int(query.get("page", 1))
    more = number * size < len(all_)
    onward = f"http://backend:8000{path}?page={number + 1}" if more else None
    here = all_[(number - 1) * size : number * size]
    return 200, {}, {"count": len(all_), "next": onward, "previous": None, "results": here}


def _cursor_header(all_: list[Any], query: Query, _: Mapping[str, Any], path: str) -> Page:
    at = of_token(query["cursor"]) if "cursor" in query else 0
    more = at + 40 < len(all_)
    return 200, {"x-next-cursor": token(at + 40)} if more else {}, all_[at : at + 40]


def _wordpress(all_: list[Any], query: Query, _: Mapping[str, Any], path: str) -> Page:
    size, number = limited(query, "per_page", 10, 100), int(query.get("page", 1))
    pages = -(-len(all_) // size)
    if number > pages:
        return 400, {}, {"code": "rest_post_invalid_page_number", "data": {"status": 400}}
    headers = {"x-wp-total": str(len(all_)), "x-wp-totalpages": str(pages)}
    if number < pages:
        headers["link"] = f'<{address(path, {**query, "page": number + 1})}>; rel="next"'
    return 200, headers, all_[(number - 1) * size : number * size]


def _post(n: int) -> dict[str, Any]:
    return {"id": n, "date": f"2024-01-{n % 28 + 1:02}T11:00:00", "slug": f"post-{n}",
            "title": {"rendered": f"Post {n}"}, "sticky": False,
            "modified_gmt": f"2024-01-{n % 28 + 1:02}T12:00:00"}  # fmt: skip


def _square(all_: list[Any], query: Query, _: Mapping[str, Any], path: str) -> Page:
    size = limited(query, "limit", 100, 100)
    at = of_token(query["cursor"]) if "cursor" in query else 0
    more = at + size < len(all_)
    found = {"payments": all_[at : at + size]}
    return 200, {}, found | ({"cursor": token(at + size)} if more else {})


def _x(all_: list[Any], query: Query, _: Mapping[str, Any], path: str) -> Page:
    """Strict: each parameter that it does not know is an error."""
    if wrong := query.keys() - {"max_results", "pagination_token"}:
        return 400, {}, {"errors": [{"message": f"The query parameters {wrong} are not one of"}]}
    size = limited(query, "max_results", 100, 1000)
    at = of_token(query["pagination_token"]) if "pagination_token" in query else 0
    here = all_[at : at + size]
    meta: dict[str, Any] = {"result_count": len(here)}
    if at + size < len(all_):
        meta["next_token"] = token(at + size)
    return 200, {}, {"data": here, "meta": meta}


# --- counted ------------------------------------------------------------------------------------


def _jira(all_: list[Any], query: Query, _: Mapping[str, Any], path: str) -> Page:
    size, at = limited(query, "maxResults", 50, 100), int(query.get("startAt", 0))
    found = {"expand": "names", "startAt": at, "maxResults": size, "total": len(all_)}
    return 200, {}, {**found, "issues": all_[at : at + size]}


def _spring(all_: list[Any], query: Query, _: Mapping[str, Any], path: str) -> Page:
    size, number = limited(query, "size", 20, 2000), int(query.get("page", 0))
    here = all_[number * size : (number + 1) * size]
    return (
        200,
        {},
        {
            "content": here,
            "pageable": {"pageNumber": number, "pageSize": size, "offset": number * size},
            "totalPages": -(-len(all_) // size),
            "totalElements": len(all_),
            "last": (number + 1) * size >= len(all_),
            "size": size,
            "number": number,
            "numberOfElements": len(here),
            "first": number == 0,
        },
    )


def _by_page(all_: list[Any], query: Query, _: Mapping[str, Any], path: str) -> Page:
    """json-server 1: pages only where they are asked for; the next one's number in the body."""
    if "_page" not in query:
        return 200, {}, all_
    size, number = limited(query, "_per_page", 10, 1000), int(query["_page"])
    pages = -(-len(all_) // size)
    number = min(number, pages)  # the last one, again
    here = all_[(number - 1) * size : number * size]
    onward = number + 1 if number < pages else None
    found = {"first": 1, "prev": None, "next": onward, "last": pages, "pages": pages}
    return 200, {}, {**found, "items": len(all_), "data": here}


def _next_number(all_: list[Any], query: Query, _: Mapping[str, Any], path: str) -> Page:
    """Only the next page's number, beside its size."""
    size, number = limited(query, "per_page", 25, 100), int(query.get("page", 1))
    meta = {"per_page": size, "next_page": number + 1 if number * size < len(all_) else None}
    return 200, {}, {"meta": meta, "rows": all_[(number - 1) * size : number * size]}


def _mailchimp(all_: list[Any], query: Query, _: Mapping[str, Any], path: str) -> Page:
    size, at = limited(query, "count", 10, 1000), int(query.get("offset", 0))
    members = all_[at : at + size]
    return 200, {}, {"members": members, "list_id": "1", "total_items": len(all_), "_links": [{}]}


def _silent(first: int) -> Answer:
    """A bare array, in pages, of which nothing is told."""

    def answer(all_: list[Any], query: Query, _: Mapping[str, Any], path: str) -> Page:
        number = int(query.get("page", first)) - first
        return 200, {}, all_[number * 25 : (number + 1) * 25]

    return answer


def _whole(all_: list[Any], query: Query, _: Mapping[str, Any], path: str) -> Page:
    """json-server without pages: whatever it does not know is a filter."""
    known = [one for one in all_ if all(str(one.get(n)) == v for n, v in query.items())]
    return 200, {}, known


def _row(n: int) -> dict[str, Any]:
    return {"code": f"{n:05}", "id": n, "price": n, "ratio": n / 4, "ok": n % 2 == 0}


APIS = [
    Api(
        name="GitHub", path="/repos/o/r/issues", record=_github_issue, answer=_linked(30, 100),
        kind="link",
        types={"id": "bigint", "user": "jsonb", "closed_at": "timestamptz", "locked": "boolean"},
    ),
    Api(
        name="GitLab", path="/api/v4/projects/7/issues", record=_gitlab, kind="link",
        answer=_linked(20, 100, _gitlab_headers), types={"due_date": "date", "weight": "jsonb"},
    ),
    Api(
        name="Shopify", path="/admin/api/2024-10/orders.json", record=_shopify_order,
        answer=_shopify, kind="link", records="orders",
        types={"total_price": "numeric", "created_at": "timestamptz", "note": "text"},
    ),
    Api(
        name="Stripe", path="/v1/charges", record=_charge, answer=_stripe, kind="keyset",
        records="data", types={"amount": "numeric", "created": "bigint", "livemode": "boolean"},
    ),
    Api(
        name="HubSpot", path="/crm/v3/objects/contacts", record=_contact, answer=_hubspot,
        kind="url", records="results",
        types={"id": "text", "email": "text", "lastmodifieddate": "timestamptz"},
    ),
    Api(name="Slack", path="/api/conversations.list", record=_channel, answer=_slack,
        kind="cursor", records="channels", types={"topic": "jsonb"}),
    Api(name="Notion", path="/v1/databases/668d797c76fa49349b05ad288df2d136/query", body={},
        record=_notion_page, answer=_notion, kind="cursor", records="results",
        types={"id": "uuid", "Name": "jsonb", "last_edited_time": "timestamptz"}),
    Api(name="Airtable", path="/v0/appA1b2C3d4E5f6G7/Places", record=_airtable_record,
        answer=_airtable, kind="cursor", records="records",
        types={"Address": "text", "Visited": "boolean"}),
    Api(name="Google Calendar", path="/calendar/v3/calendars/c/events", record=_event,
        answer=_google, kind="cursor", records="items", types={"updated": "timestamptz"}),
    Api(name="Jira", path="/rest/api/2/search", record=_issue, answer=_jira, kind="offset",
        records="issues", types={"id": "text", "summary": "text", "updated": "timestamptz"}),
    Api(name="Jira, by token", path="/rest/api/3/search/jql", record=_issue, answer=_jira_new,
        kind="cursor", records="issues"),
    Api(name="Intercom", path="/contacts", record=_gitlab, answer=_intercom, kind="cursor",
        records="data"),
    Api(name="Zendesk", path="/api/v2/tickets.json", record=_ticket, answer=_zendesk, kind="url",
        records="tickets", types={"via": "jsonb", "external_id": "jsonb"}),
    Api(name="Zendesk, by cursor", path="/api/v2/tickets", record=_ticket, answer=_zendesk_cursor,
        kind="url", records="tickets"),
    Api(name="Salesforce", path="/services/data/v60.0/query", record=_account,
        answer=_salesforce, kind="url", key=("Id",), records="records",
        types={"AnnualRevenue": "numeric", "SystemModstamp": "timestamptz"}),
    Api(name="Microsoft Graph", path="/v1.0/users", record=_user, answer=_odata, kind="url",
        records="value", types={"id": "uuid", "accountEnabled": "boolean", "mail": "jsonb"}),
    Api(name="Laravel", path="/api/things", record=_row, answer=_laravel, kind="url",
        records="data", types={"code": "text", "price": "numeric", "ratio": "numeric"}),
    Api(name="JSON:API", path="/articles", record=_article, answer=_json_api, kind="url",
        records="data", types={"title": "text", "views": "bigint"}),
    Api(name="Twilio", path="/2010-04-01/Accounts/AC1/Messages.json", record=_message,
        answer=_twilio, kind="url", key=("sid",), records="messages"),
    Api(name="Asana", path="/api/1.0/tasks", record=lambda n: {"gid": str(n), "name": f"t{n}"},
        answer=_asana, kind="url", key=("gid",), records="data"),
    Api(name="behind a proxy", path="/api/rows/", record=_row, answer=_behind_a_proxy, kind="url",
        records="results"),
    Api(name="a cursor in a header", path="/rows", record=_row, answer=_cursor_header,
        kind="cursor"),
    Api(name="WordPress", path="/wp-json/wp/v2/posts", record=_post, answer=_wordpress,
        kind="link", types={"date": "timestamp", "title": "jsonb"}),
    Api(name="Square", path="/v2/payments", record=_charge, answer=_square, kind="cursor",
        records="payments"),
    Api(name="X", path="/2/users/1/followers", record=_channel, answer=_x, kind="cursor",
        records="data"),
    Api(name="Spring", path="/api/rows", record=_row, answer=_spring, kind="number",
        records="content"),
    Api(name="json-server 1", path="/rows", params={"_page": "1"}, record=_row, answer=_by_page,
        kind="cursor", records="data"),
    Api(name="the next page's number", path="/rows", record=_row, answer=_next_number,
        kind="cursor", records="rows"),
    Api(name="Mailchimp", path="/3.0/lists/1/members", record=_contact, answer=_mailchimp,
        kind="offset", records="members"),
    Api(name="pages that nothing tells of", path="/rows", record=_row, answer=_silent(1),
        kind="number", types={"code": "text", "id": "bigint", "ok": "boolean"}),
    Api(name="the same, counted from 0", path="/rows", record=_row, answer=_silent(0),
        kind="number"),
    Api(name="a whole list", path="/rows", record=_row, answer=_whole, kind="none"),
]  # fmt: skip


def serve(api: Api, method: str, url: str, body: bytes | None) -> tuple[int, dict[str, str], bytes]:
    """What the API answers to a request."""
    parts = urllib.parse.urlsplit(url)
    query = dict(urllib.parse.parse_qsl(parts.query))
    asked = json.loads(body) if body else {}
    assert (method == "POST") == (api.body is not None)
    status, headers, found = api.answer(api.all(), query, asked, parts.path)
    return status, {"content-type": "application/json", **headers}, json.dumps(found).encode()
