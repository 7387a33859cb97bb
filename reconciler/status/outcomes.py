"""PURE: what a pass came to, as phase and conditions for people and programs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from netplumb.models.attachment import Attachment
from netplumb.models.errors import DumpInterrupted, StepError, Terminal
from netplumb.models.fields import MTU_MIN
from netplumb.models.nodenetwork import EndedWay
from netplumb.models.policy import ForeignRule
from netplumb.models.status import IPV6_DISABLED, OFF_IN_WORKLOAD, AttachmentStatus, Condition, Phase
from netplumb.reconciler.converge.uppers import Upper
from netplumb.reconciler.converge.work import Outcome, Reach
from netplumb.reconciler.decide import listeners
from netplumb.reconciler.decide.rebuild import NOT_KNOWN
from netplumb.reconciler.pacing.fights import Fight

THROTTLED_S = 1.0  # shorter waits are not worth telling
_ONLY_THE_NODE = "only the node's side of it is kept in repair"


def phase_of(attachment: Attachment, outcome: Outcome) -> Phase:
    if any(isinstance(error, Terminal) for error in outcome.errors):
        return Phase.FAILED
    if outcome.errors:
        return Phase.RETRYING
    if outcome.node_link is not None:
        return Phase.ATTACHED
    return Phase.PENDING if attachment.is_declared else Phase.LOST


def status_of(
    attachment: Attachment,
    outcome: Outcome,
    before: AttachmentStatus,
    *,
    repaired: int,
    pool_removed: tuple[str, ...],
    ports_in_use: Sequence[str] = (),
    taken: tuple[str, ...] = (),
    ended_by: Sequence[ForeignRule | EndedWay] = (),
    uppers: Sequence[Upper] = (),
    fight: Fight | None = None,
    held_s: float = 0.0,
    muted: bool = False,
) -> AttachmentStatus:
    """The status after a pass; `repaired` objects were mended by it, the next repair has to wait for `held_s`,
    and what happens in its namespace is not listened to if it is `muted`."""
    phase = phase_of(attachment, outcome)
    conditions = [_ready(phase, outcome)]
    if not outcome.families.v6 and any(a.version == 6 for a in attachment.addresses):
        switch = outcome.families.switch or "the node or the workload"
        message = f"IPv6 is switched off by {switch}; its address is not assigned"
        reason = OFF_IN_WORKLOAD if _is_off_inside(attachment, outcome) else "SwitchedOff"
        conditions.append(Condition(IPV6_DISABLED, status=True, reason=reason, message=message))
    if outcome.reach is not Reach.OPEN and outcome.node_link is not None:
        message = f"{outcome.reach_message}; the interface lives, and {_ONLY_THE_NODE}"
        conditions.append(Condition("NetnsUnreachable", status=True, reason=outcome.reach.reason, message=message))
    if outcome.unread is not None and outcome.node_link is not None:
        message = f"of what the workload's namespace holds, {outcome.unread}; {_ONLY_THE_NODE}"
        reason = "KeepsChanging" if isinstance(outcome.unread, DumpInterrupted) else "MoreThanIsRead"
        conditions.append(Condition("TooLarge", status=True, reason=reason, message=message))
    if pool_removed:
        message = f"no pool holds {', '.join(pool_removed)} any more; kept until Detach"
        conditions.append(Condition("PoolRemoved", status=True, reason="PoolRemoved", message=message))
    if (in_use := listeners.condition(ports_in_use)) is not None:
        conditions.append(in_use)
    if taken:
        message = f"{'; '.join(taken)}: what is sent there does not reach the workload; take it from one of the two"
        conditions.append(Condition("AddressTaken", status=True, reason="HeldByNode", message=message))
    conditions += _routed_nowhere(ended_by)
    if uppers:
        message = (
            f"{', '.join(map(str, uppers))} is on top of its interface on the node, and takes what the guards should "
            "see: what comes in by it is dropped; what is sent out by it, no guard asks about. Remove it: "
            f"{' && '.join(f'ip link delete {upper.name}' for upper in uppers)}"
        )
        conditions.append(Condition("UpperInterface", status=True, reason="PassesGuards", message=message))
    if attachment.is_rebuilt:
        message = f"made from what the kernel held when its store was lost; not known: {NOT_KNOWN}"
        conditions.append(Condition("Rebuilt", status=True, reason="StoreLost", message=message))
    if outcome.held:
        message = (
            "isolated as it was when the store was lost, by policies that nobody has said since, or whose labels of it "
            "nobody has; `netplumb status` names them"
        )
        conditions.append(Condition("PoliciesHeld", status=True, reason="StoreLost", message=message))
    if fight is not None:
        conditions.append(Condition("Fighting", status=True, reason="KeepsChanging", message=str(fight)))
    conditions += _throttled(held_s, muted=muted)
    done = phase is Phase.ATTACHED and outcome.unread is None
    return AttachmentStatus(
        phase=phase,
        observed_generation=attachment.generation if done else before.observed_generation,
        conditions=tuple(conditions),
        retries=0 if done else before.retries + bool(outcome.errors),
        repairs=before.repairs + repaired,
    )


def _routed_nowhere(ended_by: Sequence[ForeignRule | EndedWay]) -> Iterator[Condition]:
    if not ended_by:
        return
    reason = "RuleInTheWay" if isinstance(ended_by[0], ForeignRule) else "RouteInTheWay"
    words, heal = ", ".join(map(_ending_words, ended_by)), " && ".join(it.heal for it in ended_by)
    message = f"{words} ends what the workload sends; if it should flow: {heal}"
    yield Condition("RoutedNowhere", status=True, reason=reason, message=message)


def _ending_words(it: ForeignRule | EndedWay) -> str:
    if isinstance(it, ForeignRule):
        return f"`{it}` of the node's routing rules"
    return f"`{it.route}` of the node's routes{'' if it.is_in_main else f' (by the rule `{it.rule}`)'}"


def _throttled(held_s: float, *, muted: bool) -> Iterator[Condition]:
    told = []
    if muted:
        words = "its namespace tells of more changes than are listened to, so that it is looked at now and then instead"
        told.append(("TooManyEvents", words))
    if held_s >= THROTTLED_S:
        words = f"so much is in its namespace, or changes so often, that the next repair waits {held_s:.0f} s"
        told.append(("TakesLong", words))
    if told:
        yield Condition("Throttled", True, told[0][0], "; ".join(words for _, words in told))


def _is_off_inside(attachment: Attachment, outcome: Outcome) -> bool:
    """Whether IPv6 is off by what was done in the workload, also where the node's end follows it: the kernel takes it
    off an interface with a small MTU."""
    return not outcome.families.switch.endswith(" on the node") or 0 < attachment.chain_mtu < MTU_MIN


def _ready(phase: Phase, outcome: Outcome) -> Condition:
    if phase is Phase.ATTACHED:
        return Condition("Ready", status=True, reason="Attached")
    if outcome.errors:
        worst = worst_of(outcome.errors)
        more = f" (and {len(outcome.errors) - 1} more)" if len(outcome.errors) > 1 else ""
        return Condition("Ready", status=False, reason=worst.reason, message=f"{worst}{more}")
    if phase is Phase.LOST:
        message = f"{outcome.reach_message}; the namespace is gone and the interface with it"
        return Condition("Ready", status=False, reason="NetnsGone", message=message)
    return Condition("Ready", status=False, reason=outcome.reach.reason or "Pending", message=outcome.reach_message)


def worst_of(errors: list[StepError]) -> StepError:
    """The error to tell first: one that no retry heals, else the first, which others often follow from."""
    return next((error for error in errors if isinstance(error, Terminal)), errors[0])
