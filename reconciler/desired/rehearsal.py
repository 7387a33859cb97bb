"""What desired state would be if state files said something else. Nothing is recorded.

The rules of desired state itself are applied to a copy: who holds a key, an address or a port, what a pool gives, and
who takes over what another releases.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from netplumb.models.attachment import Attachment, AttachmentSpec
from netplumb.models.errors import NetplumbError
from netplumb.reconciler.desired.declarations import Declarations
from netplumb.reconciler.desired.scene import Scene
from netplumb.reconciler.desired.state import Desired

CheckPorts = Callable[[AttachmentSpec, Attachment | None], None]


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """Records that would be others than now, in the order of keys, those that would go among them; and the claims that
    would begin to wait, or those of the files that would have to, each with its source and why."""

    changed: Sequence[Attachment]
    waiting: Sequence[tuple[str, AttachmentSpec, NetplumbError]]


def rehearse(scene: Scene, files: Mapping[str, Sequence[AttachmentSpec]], check_ports: CheckPorts) -> Rehearsed:
    """Plays it on the scene, which is used up. `files` are sources with what each would declare."""
    desired = Desired(scene, scene.settings, lambda _: None, lambda: None, check_ports)
    desired.surround(scene.known)
    declarations = Declarations(desired)
    for source, spec, cause in scene.waiting:
        desired.claims.wait(source, spec.key, cause)
    before = dict(desired.attachments)
    waited = {(source, spec.key) for source, spec, _ in scene.waiting}
    for source, specs in files.items():
        _all(declarations.declaring(source, specs))
    gone = {key: it for key, it in desired.attachments.items() if it.removing and not before[key].removing}
    for key in gone:
        desired.forget(key)
    _all(declarations.settling())
    changed = gone | {key: it for key, it in desired.attachments.items() if it != before.get(key)}
    waiting = [it for it in desired.claims.waiting() if it[0] in files or (it[0], it[1].key) not in waited]
    return Rehearsed([changed[key] for key in sorted(changed)], waiting)


def _all(steps: Iterable[None]) -> None:
    deque(steps, maxlen=0)
