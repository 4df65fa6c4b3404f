"""The side door for programs: an OpenAPI document, made from the table of routes."""

import re
from collections.abc import Sequence
from typing import Any

from syncd.admin import shapes
from syncd.admin.routes import Route
from syncd.admin.shapes import Parameter

REFUSALS = {
    "anybody": (403,),
    "reader": (400, 401, 403, 404, 429, 503),
    "records": (400, 401, 403, 404, 429, 503),
    "keyholder": (400, 401, 403, 429, 503),
    "writer": (400, 401, 403, 404, 413, 415, 429, 503),
}
"""Statuses with which each kind of route may answer `{"error": sentence}`."""


def document(routes: Sequence[Route], version: str) -> dict[str, Any]:
    """The whole document."""
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(plain(route.path), {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "syncd's side door",
            "version": version,
            "description": "Reading needs the token only where others than this host's own users "
            "reach the address, and whole records except through a unix socket; writing always "
            "does.",
        },
        "paths": paths,
        "components": {
            "schemas": {"Error": shapes.ERROR},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def plain(path: str) -> str:
    """A path as OpenAPI writes it, without the kinds of its parts."""
    return re.sub(r":\w+}", "}", path)


def _operation(route: Route) -> dict[str, Any]:
    schema = {} if route.shape is None else {"schema": route.shape}
    good = {"description": "As it says.", "content": {route.kind: schema}}
    error = {"schema": {"$ref": "#/components/schemas/Error"}}
    answers = {
        str(status): {"description": "Why not.", "content": {"application/json": error}}
        for status in REFUSALS[route.who]
    }
    answers |= {str(status): good for status in (route.status, *route.or_else)}
    operation: dict[str, Any] = {"summary": route.says, "responses": answers}
    if route.parameters:
        operation["parameters"] = [_parameter(p) for p in route.parameters]
    if route.body is not None:
        needed = "required" in route.body
        operation["requestBody"] = {
            "description": "As application/json."
            if needed
            else "It may be left out, and then its Content-Type, too.",
            "required": needed,
            "content": {"application/json": {"schema": route.body}},
        }
    if route.who in ("writer", "keyholder"):
        operation["security"] = [{"token": []}]
    elif route.who in ("reader", "records"):
        operation["security"] = [{}, {"token": []}]
    return operation


def _parameter(parameter: Parameter) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": parameter.type}
    if parameter.choices:
        schema["enum"] = list(parameter.choices)
    found: dict[str, Any] = {"name": parameter.name, "in": parameter.where, "schema": schema}
    if parameter.says:
        found["description"] = parameter.says
    if parameter.needed or parameter.where == "path":
        found["required"] = True
    return found
