"""One pass over the ways to other nodes, over all or over some peers': observe, render, plan, apply."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from netplumb.models.cluster import ClusterMode, Peer
from netplumb.models.errors import Conflict, Retryable, StepError
from netplumb.models.kernel import Route
from netplumb.models.steps import Step, Verb
from netplumb.reconciler.converge.ways import Seen, WaysKernel
from netplumb.reconciler.decide.ways import Ground, Way, render_ground, render_peer, steps_of


@dataclass(frozen=True, slots=True)
class Work:
    """What a pass is to make: all ways; or those of some peers, who had `former` ones, with links at these indexes."""

    ground: Ground
    peers: Collection[Peer]
    former: Collection[Way] = ()
    indexes: Mapping[str, int] | None = None


@dataclass(slots=True)
class Done:
    """What it came to. `seen` is what was there before."""

    base: Way = field(default_factory=Way)
    ways: Mapping[str, Way] = field(default_factory=dict)
    seen: Seen | None = None
    steps: Sequence[Step] = ()
    held: bool = False
    errors: list[StepError] = field(default_factory=list)
    cost_s: float = 0.0


def compare(work: Work, kernel: WaysKernel) -> Done:
    """What differs; changes nothing. Raises Retryable when the kernel does not answer."""
    base = render_ground(work.ground)
    if work.ground.is_blind:
        return Done(base)
    ways = {peer.node: render_peer(peer, work.ground) for peer in work.peers}
    if work.indexes is None:
        device = work.ground.device.name if work.ground.mode is ClusterMode.VXLAN else ""
        links = {thing.link for way in ways.values() for thing in way.things if isinstance(thing, Route)}
        seen = kernel.read_all(device, links - {device, ""})
        steps, conflicts = steps_of([base, *ways.values()], seen.objects)
        steps = _not_in_others_places(steps, seen, kernel)
    else:
        things = {it.key: it for way in (*work.former, *ways.values()) for it in way.things}
        seen = kernel.read_some(things.values(), kernel.with_links_of(things.values(), work.indexes))
        steps, conflicts = steps_of([*ways.values(), Way(withheld=seen.taken)], seen.objects)
    return Done(base, ways, seen, steps, errors=[Conflict(words) for words in conflicts])


def _not_in_others_places(steps: Sequence[Step], seen: Seen, kernel: WaysKernel) -> list[Step]:
    """Less routes to places where others have theirs by now: what is known of these is older than what was read."""
    added = [it.thing for it in steps if isinstance(it.thing, Route) and it.verb is Verb.ADD]
    taken = kernel.read_some(added, seen.indexes).taken if added else frozenset()
    return [step for step in steps if step.verb is not Verb.ADD or step.thing.key not in taken]


def converge(work: Work, kernel: WaysKernel, is_held: Callable[[Step], bool]) -> Done:
    """One pass. A step that is held is left out."""
    began_s = time.thread_time()
    try:
        done = compare(work, kernel)
        steps = [step for step in done.steps if not is_held(step)]
        done.held, done.steps = len(steps) < len(done.steps), steps
        if steps and done.seen is not None:
            done.errors += kernel.apply(steps, done.seen)
    except Retryable as error:
        done = Done(errors=[error])
    done.cost_s = time.thread_time() - began_s
    return done
