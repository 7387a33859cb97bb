"""Makes what state files declare desired, as far as it is free. What may concern thousands of keys goes key by key, so
that the caller can serve others between the steps.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress

from netplumb.models.attachment import AttachmentKey, AttachmentSpec
from netplumb.models.errors import Refusal, StoreUnwritable
from netplumb.models.ports import HostPort
from netplumb.reconciler.desired.state import Desired


class Declarations:
    """`refused` is told, once, why a claim has to wait."""

    def __init__(
        self,
        desired: Desired,
        refused: Callable[[AttachmentKey, str, Refusal], None] = lambda *_: None,
    ) -> None:
        self._desired = desired
        self._claims = desired.claims
        self._refused = refused
        self.policies = desired.policies

    @property
    def sources(self) -> Collection[str]:
        return self._claims.sources

    def claims_of(self, source: str) -> Mapping[AttachmentKey, AttachmentSpec]:
        return self._claims.of(source)

    def declaring(self, source: str, specs: Sequence[AttachmentSpec]) -> Iterator[None]:
        """Replaces a file's partition, as `amending` does."""
        after = {spec.key for spec in specs}
        return self.amending(source, specs, [key for key in self._claims.of(source) if key not in after])

    def amending(
        self, source: str, specs: Sequence[AttachmentSpec], dropped: Sequence[AttachmentKey]
    ) -> Iterator[None]:
        """Changes a partition by these, a key with each step. What cannot be had now (a key or an address of another)
        waits for it. Raises StoreUnwritable; then the whole is to be declared again."""
        # First of all: a claim that has gone from the store is not looked at again, and what it held must not stay.
        for key in dropped:
            record = self._desired.attachments.get(key)
            if record is not None and record.source == source:
                self._desired.withdraw(key)
            self._claims.give_up(source, key)  # it must not take over between the steps
            yield
        self._claims.replace(source, {**self._claims.of(source), **{spec.key: spec for spec in specs}})
        for spec in specs:
            self._claim(source, spec)
            yield
        yield from self._letting_go()

    def resuming(self) -> Iterator[None]:
        """Takes up the claims that waited when the daemon ended, whether or not their files can be read now."""
        for source in self._claims.sources:
            for key, spec in tuple(self._claims.of(source).items()):
                record = self._desired.attachments.get(key)
                if record is None or record.source != source or record.spec != spec:
                    self._claim_again(source, key)
                    yield
        yield from self._letting_go()

    def claiming_anew(self) -> Iterator[None]:
        """Tries all that is declared, as if it had just been."""
        for source in self._claims.sources:
            for key in tuple(self._claims.of(source)):
                self._claim_again(source, key)
                yield

    def settling(self) -> Iterator[None]:
        """Tries what had to wait."""
        for source, spec, _ in tuple(self._claims.waiting()):
            self._claim_again(source, spec.key)
            yield
        yield from self._letting_go()

    def _letting_go(self) -> Iterator[None]:
        """Claims can wait for each other, as those of two workloads that are to swap their ports. So a waiting claim's
        record gives up those of its ports that it is to lose and another claim waits for."""
        waiting = [(source, spec) for source, spec, _ in self._claims.waiting()]
        awaited = {port for _, spec in waiting for port in _ports(spec)}
        for source, spec in waiting:
            record = self._desired.attachments.get(spec.key)
            if record is None or record.removing or record.source != source:
                continue
            unwanted = awaited.intersection(_ports(record.spec)).difference(_ports(spec))
            kept = [it for it in record.spec.port_mappings if unwanted.isdisjoint(it.host_ports())]
            if len(kept) < len(record.spec.port_mappings):
                less = record.spec.model_copy(update={"port_mappings": tuple(kept)})
                with suppress(Refusal):  # then nothing is let go, and it is tried with the others again
                    self._desired.attach(less, record.netns_cookie, source)
                yield

    def _claim_again(self, source: str, key: AttachmentKey) -> None:
        if (spec := self._claims.of(source).get(key)) is not None:
            try:
                self._claim(source, spec)
            except StoreUnwritable as error:
                self._claims.wait(source, key, error)  # told, and tried with the others

    def _claim(self, source: str, spec: AttachmentSpec) -> None:
        record = self._desired.attachments.get(spec.key)
        cookie = record.netns_cookie if record is not None and record.spec.netns == spec.netns else 0
        try:
            self._desired.attach(spec, cookie, source)
        except StoreUnwritable:
            raise  # whoever declares tries again; this is no claim that waits for another to let go
        except Refusal as error:
            waited = self._claims.found_waiting(source, spec.key)
            if waited is None or str(error) != str(waited[1]):
                self._refused(spec.key, source, error)
            self._claims.wait(source, spec.key, error)
        else:
            self._claims.met(source, spec.key)


def _ports(spec: AttachmentSpec) -> Iterator[HostPort]:
    return (port for mapping in spec.port_mappings for port in mapping.host_ports())
