"""Carries out a runtime's commands over whatever keeps the networks. No error leaves it as a traceback."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import structlog

from netplumb.api.cni.errors import cni_error
from netplumb.api.cni.networks import Networks
from netplumb.api.cni.request import Request, request, version_of
from netplumb.api.cni.result import add_result, missing
from netplumb.api.cni.spec import CniError, Code, Command
from netplumb.api.cni.unknown import Unknowns
from netplumb.api.cni.wishes import attachment_spec
from netplumb.models.attachment import AttachmentKey
from netplumb.models.errors import NotReady, PoolExhausted, Refusal
from netplumb.models.status import IPV6_DISABLED, CheckReport

log = structlog.get_logger(__name__)


class Answer(NamedTuple):
    """With what status the plugin exits, and what it prints."""

    status: int
    body: bytes


class Service:
    def __init__(self, networks: Networks) -> None:
        self._networks = networks
        self.unknowns = Unknowns()

    async def answer(self, environment: Mapping[str, str], config: bytes) -> Answer:
        try:
            return Answer(0, await self._carried_out(request(environment, config)))
        except Exception as error:
            told = cni_error(error)
            if told.code is Code.INTERNAL:
                log.error("cni command failed", command=environment.get("CNI_COMMAND"), exc_info=error)
            elif not (isinstance(error, Refusal) and error.is_told):
                log.info("cni command refused", command=environment.get("CNI_COMMAND"), code=told.code, cause=str(told))
            return failed(told, version_of(config))

    async def _carried_out(self, asked: Request) -> bytes:
        """What is printed. Only ADD prints anything."""
        if asked.command in (Command.ADD, Command.CHECK):
            self.unknowns.take(asked.config.name, asked.unknown)
        match asked.command:
            case Command.ADD:
                view = await self._networks.attach(asked.source, attachment_spec(asked))
                return _encoded(add_result(asked, view))
            case Command.DEL:
                await self._networks.detach(asked.source, asked.container_id, asked.if_name, asked.netns)
            case Command.CHECK:
                await self._check(asked)
            case Command.GC:
                await self._networks.gc(asked.source, _alive(asked))
            case Command.STATUS:
                self._status(asked.config.pool)
        return b""

    async def _check(self, asked: Request) -> None:
        expected = asked.config.prev_result
        if expected is None:
            raise CniError(Code.INVALID_CONFIG, "prevResult: CHECK needs the result of the ADD")
        report = await self._networks.check(asked.source, asked.container_id, asked.if_name, asked.netns)
        # Whether an address is missed for want of IPv6 is for the result of the ADD to say.
        report = replace(report, unmet=tuple(it for it in report.unmet if it.reason != IPV6_DISABLED))
        if not report.in_sync:
            raise CniError(Code.NOT_AS_DESIRED, "the kernel does not hold what it should", _differences(report))
        if words := missing(asked, expected, report.view):
            raise CniError(Code.NOT_AS_DESIRED, "the attachment is not what ADD answered", words)

    def _status(self, pool: str) -> None:
        try:
            status = self._networks.status(pool)
        except (NotReady, PoolExhausted) as error:
            raise CniError(Code.NOT_AVAILABLE, "nothing can be attached now", str(error)) from None
        cause = next((it.message for it in status.conditions if it.type == "NodeInSync" and not it.status), "")
        if cause or not status.ready:
            raise CniError(Code.LIMITED_CONNECTIVITY, "the node is not as it should be", cause)


def failed(error: CniError, version: str) -> Answer:
    """The error object, and an exit status that says that there is one."""
    details = {"details": error.details} if error.details else {}
    return Answer(1, _encoded({"cniVersion": version, "code": int(error.code), "msg": error.message, **details}))


def _encoded(answer: Mapping[str, Any]) -> bytes:
    return json.dumps(answer).encode()


def _alive(asked: Request) -> frozenset[AttachmentKey]:
    """Those that the runtime still knows. A missing list is not an empty one, which would detach all."""
    alive = asked.config.valid_attachments
    if alive is None:
        raise CniError(Code.INVALID_CONFIG, "cni.dev/valid-attachments: GC needs it; an empty list detaches all")
    return frozenset(AttachmentKey(it.container_id, it.if_name) for it in alive)


def _differences(report: CheckReport) -> str:
    return "; ".join([*(it.message for it in report.unmet), *(f"{it.verb} {it.words}" for it in report.differences)])
