"""The page: one HTML document that needs nothing from elsewhere. It holds what it shows; where the daemon serves it, it
follows that."""

from __future__ import annotations

import base64
import hashlib
import json
import time
from collections.abc import Iterable, Mapping
from importlib.resources import files
from string import Template
from typing import Any

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from netplumb.api.map.picture import picture
from netplumb.api.map.svg import drawing
from netplumb.api.v1 import netplumb_pb2 as pb


def still(status: pb.StatusResponse, attachments: Iterable[pb.Attachment]) -> str:
    """The page as of now."""
    found = list(attachments)
    data = {"live": False, "at": time.time(), "status": fields(status), "attachments": [fields(it) for it in found]}
    return _page(data, drawing(picture(status, found)))


def live() -> str:
    """The page that asks who serves it."""
    return _page({"live": True}, "")


def alone(status: pb.StatusResponse, attachments: Iterable[pb.Attachment]) -> str:
    """The picture as a file of its own, in the colours of whoever looks at it."""
    colours = _asset("page.css").partition("* {")[0]
    return drawing(picture(status, attachments), f"<style>{colours}{_asset('drawing.css')}</style>")


def policy(page: str) -> str:
    """The Content-Security-Policy that lets this page do what it does, and nothing else."""
    script, style = _between(page, "<script>", "</script>"), _between(page, "<style>", "</style>")
    return (
        f"default-src 'none'; connect-src 'self'; img-src data:; script-src '{_digest(script)}'; "
        f"style-src '{_digest(style)}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def fields(message: Message) -> dict[str, Any]:
    """The message as the page reads it, with every field."""
    return MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)


def _page(data: Mapping[str, object], drawn: str) -> str:
    return Template(_asset("page.html")).substitute(
        style=_asset("page.css") + _asset("drawing.css"),
        script=_asset("page.js"),
        data=json.dumps(data).replace("<", "\\u003c"),
        drawing=drawn,
    )


def _asset(name: str) -> str:
    return files("netplumb.api.map").joinpath("assets", name).read_text(encoding="utf-8")


def _between(text: str, start: str, end: str) -> str:
    return text.partition(start)[2].partition(end)[0]


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
