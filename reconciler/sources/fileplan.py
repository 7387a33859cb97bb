"""What state files would change if they were put into place: read as the file source reads them, and rehearsed.

Both happen in a thread: a file may declare thousands of attachments, and nothing else must wait for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import MappingProxyType

from netplumb.models.attachment import FILE_SOURCE_PREFIX, AttachmentSpec
from netplumb.models.errors import InvalidRequest, NetplumbError
from netplumb.models.networkpolicy import Manifest
from netplumb.models.ports import PortMapping
from netplumb.models.statefile import StateFile
from netplumb.models.status import Comparison, Unmet
from netplumb.reconciler.desired.rehearsal import CheckPorts, Rehearsed, rehearse
from netplumb.reconciler.desired.state import Desired
from netplumb.reconciler.sources.directory import FileContent, judged
from netplumb.reconciler.sources.survey import Survey
from netplumb.reconciler.status.statuses import waiting_condition


class FilePlan:
    """`rehearse_ports` looks at ports of the node, and returns what refuses a wish for them."""

    def __init__(
        self,
        desired: Desired,
        survey: Survey,
        rehearse_ports: Callable[[Sequence[PortMapping]], Awaitable[CheckPorts]],
    ) -> None:
        self._desired = desired
        self._survey = survey
        self._rehearse_ports = rehearse_ports

    async def of(self, files: Sequence[StateFile]) -> list[Comparison]:
        """Of each attachment that would be another than now, and of each claim that would have to wait. Raises
        InvalidRequest for files that would not be taken."""
        contents = await asyncio.to_thread(read, files)
        return await self.of_sources(
            {FILE_SOURCE_PREFIX + it.name: it.specs for it in contents},
            {FILE_SOURCE_PREFIX + it.name: it.manifests for it in contents},
        )

    async def of_sources(
        self,
        declared: Mapping[str, Sequence[AttachmentSpec]],
        manifests: Mapping[str, Sequence[Manifest]] = MappingProxyType({}),
    ) -> list[Comparison]:
        """The same of what each source would declare."""
        found = await self.rehearsed(declared)
        waiting = (_waiting(source, spec, error) for source, spec, error in found.waiting)
        told, node = [Comparison(unmet=tuple(waiting))], None
        policies = self._desired.policies.rehearsed(manifests)
        if policies is not self._desired.policies.in_force:
            node, comparison = await self._survey.of_policies(policies, found.changed)
            told.append(comparison)
        return [*await self._survey.of_wishes(found.changed, node), *told]

    async def rehearsed(self, declared: Mapping[str, Sequence[AttachmentSpec]]) -> Rehearsed:
        mappings = [it for specs in declared.values() for spec in specs for it in spec.port_mappings]
        check_ports = await self._rehearse_ports(mappings)
        return await asyncio.to_thread(rehearse, self._desired.scene(), declared, check_ports)


def read(files: Sequence[StateFile]) -> list[FileContent]:
    """What the files say. Raises InvalidRequest, with each line that is wrong."""
    found = [judged(file.name, file.content) for file in files]
    if problems := [it.problem for it in found if it.problem]:
        raise InvalidRequest("", "; ".join(problems))
    return found


def _waiting(source: str, spec: AttachmentSpec, error: NetplumbError) -> Unmet:
    why = waiting_condition(source, error)
    return Unmet(spec.key, why.reason, why.message, source)
