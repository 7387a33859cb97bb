"""A typed asyncio client for the daemon on this node. Requests and answers are the messages of `netplumb.v1`.

`synchronous` has the same calls with the same words, which a test holds.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self, TypeAlias

from netplumb.api.client.connection import Connection, made, of_kind
from netplumb.api.client.remote import Remote
from netplumb.api.defaults import DEFAULT_SOCKET, DEFAULT_TIMEOUT_S, SOCKET_VARIABLE
from netplumb.api.v1 import netplumb_pb2 as pb
from netplumb.api.v1 import netplumb_pb2_grpc as rpc

WhatIf: TypeAlias = pb.AttachRequest | pb.DetachRequest | pb.StateFiles | pb.ApplyRequest | None


class AsyncClient:
    """The daemon's calls, in an `async with` block: one connection, any number of calls at a time.

    Args:
        socket_path: the daemon's socket; by default the value of the variable NETPLUMB_SOCKET, else
            /run/netplumb/workloadnet.sock.
        timeout_s: how many seconds each call may take, including the wait for a daemon that restarts; 0 does not wait,
            `math.inf` waits without end. A call's own `timeout_s` takes precedence.
        remote: a remote daemon, in place of one on a socket.

    Raises:
        ValueError: if `timeout_s` is negative or not a number.
        RuntimeError: from a call outside of the block, where the block is entered again within it, and from a call in
            another event loop.
        Unreachable: from the block, where the path is longer than a socket's may be (107 bytes).

    The daemon need not run yet. Each call documents what it raises. Besides, every call raises Unreachable when no
    daemon answers in time, DeadlineExceeded when the answer takes too long, and ClientError, the base class of all
    these, for any other error. A request of the wrong message type raises TypeError.

    Example:
        async with netplumb.AsyncClient() as client:
            netns = messages.NetNSAttachment(netns_path="/run/netns/web", if_name="eth0")
            await client.attach(messages.AttachRequest(workload_id="web", netns=netns))
    """

    def __init__(
        self,
        socket_path: Path | str | None = None,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        *,
        remote: Remote | None = None,
    ) -> None:
        self.socket_path = Path(socket_path or os.environ.get(SOCKET_VARIABLE) or DEFAULT_SOCKET)
        self._connection = Connection(remote or self.socket_path, timeout_s)

    async def __aenter__(self) -> Self:
        await self._connection.open()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._connection.close()

    @property
    def silent_s(self) -> float:
        """For how many seconds the daemon owes an answer; 0 while it owes none."""
        return self._connection.silent_s

    @property
    def _stub(self) -> rpc.WorkloadNetworkingAsyncStub:
        return self._connection.stub

    async def attach(self, request: pb.AttachRequest, timeout_s: float | None = None) -> pb.AttachResponse:
        """Gives a workload an interface, and returns when the kernel holds all of it. The same again changes nothing.

        Args:
            request: the whole wish; the contract explains each field.
            timeout_s: seconds to wait, in place of the client's. The daemon goes on trying after that.

        Returns:
            The addresses, each as 4 or 16 bytes in `ip`; the attachment as it stands, with the addresses as text, in
            `attachment`; and `warnings` for a person.

        Raises:
            InvalidArgument: a field is wrong; the message names it.
            FailedPrecondition: the path is not a network namespace, or is the node's own.
            AlreadyExists: the key, an address or a port belongs to another, which the message names.
            ResourceExhausted: the pool that the message names is empty.
            Unavailable: the daemon has no pools, or cannot store the wish.
            Aborted: it was detached, or attached otherwise, while this call waited.
            DeadlineExceeded: the kernel does not agree yet; the message says which step failed.

        Example:
            request = messages.AttachRequest(
                workload_id="web",
                netns=messages.NetNSAttachment(netns_path="/run/netns/web"),  # eth0, without another name
                port_mappings=[messages.PortMapping(host_port=8080, container_port=80)],
            )
            answer = await client.attach(request, timeout_s=5)
            print(*answer.attachment.addresses)
        """
        of_kind(request, pb.AttachRequest)
        return await self._connection.call(self._stub.Attach, request, timeout_s)

    async def detach(self, request: pb.DetachRequest, timeout_s: float | None = None) -> None:
        """Takes an interface away, and returns when it is gone from the kernel and its addresses are free. An
        attachment that does not exist, or that belongs to another sandbox, is no error, and nothing is changed.

        Args:
            request: the workload and its interface; a namespace or a container's id says which sandbox is meant.
            timeout_s: seconds to wait, in place of the client's. The daemon goes on removing it after that.

        Raises:
            InvalidArgument: a field is wrong; the message names it.
            FailedPrecondition: a state file declares the attachment.
            Aborted: it was attached again while this call waited.
            DeadlineExceeded: the kernel has not let go of it yet.

        Example:
            await client.detach(messages.DetachRequest(workload_id="web"))
        """
        of_kind(request, pb.DetachRequest)
        await self._connection.call(self._stub.Detach, request, timeout_s)

    async def get(self, workload_id: str, if_name: str = "") -> pb.Attachment:
        """One attachment with its status, as it was last seen; the kernel is not read.

        Args:
            workload_id: the workload.
            if_name: its interface; eth0 by default.

        Raises:
            InvalidArgument: not a valid workload id or interface name.
            NotFound: there is no such attachment.
        """
        return (await self.get_with_waiting(workload_id, if_name)).attachment

    async def get_with_waiting(self, workload_id: str, if_name: str = "") -> pb.GetResponse:
        """Like `get`, with the claims of state files to the same key that have to wait.

        Args:
            workload_id: the workload.
            if_name: its interface; eth0 by default.

        Returns:
            The attachment in `attachment`; in `waiting` the claims that wait, each with the reason in its conditions.

        Raises:
            InvalidArgument: not a valid workload id or interface name.
            NotFound: no source has or wants such an attachment.
        """
        request = made(pb.GetRequest, workload_id=workload_id, if_name=if_name)
        return await self._connection.call(self._stub.Get, request)

    async def list(
        self, page_size: int = 0, selector: str = "", *, with_documents: bool = False
    ) -> AsyncIterator[pb.Attachment]:
        """Every attachment with its status, in the order of the keys.

        Args:
            page_size: how many are asked for at a time, at most 5000; 0 is the daemon's default.
            selector: only those that match, such as "app=web,tier in (a, b),!canary".
            with_documents: whether each includes what was asked for as a document, which `apply` takes.

        Raises:
            InvalidArgument: the selector cannot be read.
            Unreachable, DeadlineExceeded: also in between; each page has the client's timeout.

        Example:
            async for attachment in client.list(selector="app=web"):
                print(attachment.workload_id, attachment.phase, *attachment.addresses)
        """
        request = made(pb.ListRequest, page_size=page_size, selector=selector, with_documents=with_documents)
        while True:
            page = await self._connection.call(self._stub.List, request)
            for attachment in page.attachments:
                yield attachment
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def watch(self, selector: str = "") -> AsyncIterator[pb.WatchResponse]:
        """A snapshot of all attachments, the mark that it is complete, then each change. The stream does not end by
        itself. A slow reader gets only the latest state of each attachment.

        Args:
            selector: only those that match; one that no longer does is reported as removed.

        Raises:
            InvalidArgument: the selector cannot be read.
            ResourceExhausted: 128 streams are open already.
            Unreachable: no daemon answers within the client's timeout, or it ended: watch again, from a new snapshot.

        Example:
            async for told in client.watch():
                if told.change == messages.WatchResponse.SNAPSHOT_COMPLETE:
                    break
        """
        return self._connection.stream(self._stub.Watch, made(pb.WatchRequest, selector=selector))

    def events(
        self, about: str = "", since: float = 0.0, most: int = 0, follow: bool = False
    ) -> AsyncIterator[pb.Event]:
        """What happened, the oldest first: attached, repaired, refused and the like.

        Args:
            about: a workload, or one interface of it as in "web-1/eth0"; all and the node without.
            since: nothing older than that, in seconds since the epoch.
            most: only so many of the newest that are kept; 0 is all.
            follow: go on with what happens, without an end of its own.

        Raises:
            ResourceExhausted: 128 streams are open already.
            Unreachable: no daemon answers within the client's timeout, or it ended meanwhile.

        Example:
            async for event in client.events("web", since=time.time() - 3600, most=20):
                print(event.kind, event.message)
        """
        request = made(pb.EventsRequest, about=about, since=since, most=most, follow=follow)
        return self._connection.stream(self._stub.Events, request)

    async def check(self, workload_id: str, if_name: str = "") -> pb.CheckResponse:
        """Reads the kernel, and compares an attachment, and the parts of the node that its traffic needs, with what is
        desired.

        Args:
            workload_id: the workload.
            if_name: its interface; eth0 by default.

        Returns:
            `in_sync`; if it is false, what differs in `differences`, and other reasons in `unmet`.

        Raises:
            InvalidArgument: not a valid workload id or interface name.
            NotFound: there is no such attachment.

        Example:
            report = await client.check("web")
            if not report.in_sync:
                print(*(f"{it.verb} {it.words}" for it in report.differences))
        """
        request = made(pb.CheckRequest, workload_id=workload_id, if_name=if_name)
        return await self._connection.call(self._stub.Check, request)

    async def check_all(self) -> Sequence[pb.CheckResponse]:
        """Reads the kernel, and compares the node and all attachments with what is desired.

        Returns:
            What `check` would: first of the node itself, without an attachment, then of each attachment.

        Raises:
            Unreachable, DeadlineExceeded: as every call; thousands of attachments take seconds.

        Example:
            if all(report.in_sync for report in await client.check_all()):
                print("as desired")
        """
        return (await self._connection.call(self._stub.CheckAll, pb.CheckAllRequest())).reports

    async def describe(self, workload_id: str, if_name: str = "", events: int = 10) -> Sequence[pb.Description]:
        """A workload in detail: its attachments, their objects as the kernel holds them now, and its last events.

        Args:
            workload_id: the workload.
            if_name: one of its interfaces; all of them without one.
            events: how many of each one's last events to tell.

        Returns:
            One description for each interface, in the order of their names.

        Raises:
            InvalidArgument: not a valid workload id or interface name.
            NotFound: there is no such attachment.
        """
        request = made(pb.DescribeRequest, workload_id=workload_id, if_name=if_name, events=events)
        return (await self._connection.call(self._stub.Describe, request)).descriptions

    async def plan(self, what_if: WhatIf = None) -> pb.PlanResponse:
        """What the daemon would change in the kernel, and what that would not repair. Nothing is changed.

        Args:
            what_if: an attach, a detach, state files to put into place, or documents to apply; by default the whole
                node as it is desired now.

        Returns:
            The changes in `changes`, in their order; in `unmet` what they would not repair, and refused documents.

        Raises:
            InvalidArgument: a wish or a document is wrong; the message says where.
            FailedPrecondition, AlreadyExists, ResourceExhausted, Unavailable: as the attach or detach itself would.

        Example:
            planned = await client.plan(messages.DetachRequest(workload_id="web"))
            print(*(f"{it.verb} {it.words}" for it in planned.changes), sep="\\n")
        """
        request = pb.PlanRequest()
        if isinstance(what_if, pb.AttachRequest):
            request.attach.CopyFrom(what_if)
        elif isinstance(what_if, pb.StateFiles):
            request.files.CopyFrom(what_if)
        elif isinstance(what_if, pb.ApplyRequest):
            request.apply.CopyFrom(what_if)
        elif what_if is not None:
            of_kind(what_if, pb.AttachRequest, pb.DetachRequest, pb.StateFiles, pb.ApplyRequest)
            request.detach.CopyFrom(what_if)
        return await self._connection.call(self._stub.Plan, request)

    async def apply(self, request: pb.ApplyRequest) -> Sequence[pb.Applied]:
        """Makes documents desired, written as in state files, and returns when that is recorded. The daemon waits for
        what cannot be had yet, such as a namespace that is missing.

        Args:
            request: the documents; whether what was applied before and is not among them goes (`prune`); whether only
                to tell what would be done (`dry_run`).

        Returns:
            What became of each document, and of each attachment that was pruned.

        Raises:
            InvalidArgument: a document is wrong, and then none was taken.
            Unavailable: the daemon cannot store them.

        Example:
            text = b"kind: Attachment\\nworkload_id: db\\nnetns: {name: db}\\n"
            files = messages.StateFiles(files=[messages.StateFile(name="db.yaml", content=text)])
            for applied in await client.apply(messages.ApplyRequest(files=files)):
                print(applied.workload_id, applied.result, applied.waiting)
        """
        of_kind(request, pb.ApplyRequest)
        return (await self._connection.call(self._stub.Apply, request)).applied

    async def delete(self, request: pb.DeleteRequest) -> pb.DeleteResponse:
        """Withdraws what was applied, and returns when it is gone from the kernel. Others' attachments stay.

        Args:
            request: the names, or documents of which the names count; whether only to tell (`dry_run`).

        Returns:
            What was withdrawn in `deleted`; in `missing` what nobody applied.

        Raises:
            InvalidArgument: a document is wrong, and then nothing was withdrawn.
            DeadlineExceeded: the kernel has not let go of all yet.

        Example:
            names = [messages.AttachmentName(workload_id="db")]
            print(len((await client.delete(messages.DeleteRequest(names=names))).deleted), "withdrawn")
        """
        of_kind(request, pb.DeleteRequest)
        return await self._connection.call(self._stub.Delete, request)

    async def policies(self) -> Sequence[pb.Policy]:
        """The network policies and namespaces that sources declare.

        Returns:
            Policies and namespaces, in the order of their names; if two sources declare one, the one in force first.

        Raises:
            Unreachable, DeadlineExceeded: as every call.
        """
        return (await self._connection.call(self._stub.Policies, pb.PoliciesRequest())).policies

    async def explain_policy(self, request: pb.ExplainPolicyRequest) -> pb.ExplainPolicyResponse:
        """Whether network policies let a packet pass from one end to another, and why, judging by desired state.

        Args:
            request: both ends, each a workload, an interface of it, or an address; protocol and port.

        Returns:
            Whether it is allowed, and for each end the rule that allows it, or what is missing.

        Raises:
            InvalidArgument: an end, the protocol or the port is wrong.
            NotFound: an end is neither a workload of this node nor an address.
        """
        of_kind(request, pb.ExplainPolicyRequest)
        return await self._connection.call(self._stub.ExplainPolicy, request)

    async def diff_policies(self, files: pb.StateFiles) -> pb.DiffPoliciesResponse:
        """What policies in state files would change of who reaches whom. Nothing is changed.

        Args:
            files: each is new, or takes the place of the state file of that name.

        Returns:
            Which workloads would reach which ports of others, or no longer would, and which flows would be cut.

        Raises:
            InvalidArgument: a document is wrong; the message says where.
        """
        of_kind(files, pb.StateFiles)
        return await self._connection.call(self._stub.DiffPolicies, pb.DiffPoliciesRequest(files=files))

    async def gc(
        self, alive: Iterable[tuple[str, str]], source: str = "", *, dry_run: bool = False
    ) -> Sequence[pb.Attachment]:
        """Detaches what a source holds for containers that no longer exist, and returns when it is gone from the
        kernel.

        Args:
            alive: those that exist, each as (container_id, if_name); the workload's id stands for the container id of
                what was attached without one. An empty iterable detaches everything of the source.
            source: whose attachments are meant: `rpc` (also without one), or `cni/` and a network's name.
            dry_run: change nothing, and only tell.

        Returns:
            What was detached, or would be.

        Raises:
            InvalidArgument: the source is neither, such as a state file's.
            DeadlineExceeded: the kernel has not let go of all yet.

        Example:
            for attachment in await client.gc([("3f1e9a", "eth0")], dry_run=True):
                print(attachment.workload_id, "would go")
        """
        interfaces = [
            pb.GCRequest.Interface(container_id=container, if_name=name) for container, name in map(_pair, alive)
        ]
        request = made(pb.GCRequest, source=source, alive=pb.GCRequest.Alive(interfaces=interfaces), dry_run=dry_run)
        return (await self._connection.call(self._stub.GC, request)).removed

    async def traffic(self, selector: str = "") -> pb.TrafficResponse:
        """What workloads received and sent since their links were made, as the links count it.

        Args:
            selector: only those that match, such as "app=web,tier in (a, b),!canary".

        Returns:
            Bytes and packets of each attachment, seen from the workload, and when they were read, in seconds since the
            epoch.

        Raises:
            InvalidArgument: the selector cannot be read.
        """
        return await self._connection.call(self._stub.Traffic, made(pb.TrafficRequest, selector=selector))

    async def status(self, timeout_s: float | None = None, *, without_pools: bool = False) -> pb.StatusResponse:
        """The daemon as a whole: whether it is ready, what is not as wished, pools, counters.

        Args:
            timeout_s: seconds to wait, in place of the client's.
            without_pools: answer also while there are no pools.

        Raises:
            Unavailable: the daemon has no pools, so that nothing can be given an address.

        Example:
            status = await client.status(timeout_s=1, without_pools=True)
            print(status.ready, *(f"{pool.name}: {pool.held} of {pool.size}" for pool in status.pools))
        """
        request = made(pb.StatusRequest, without_pools=without_pools)
        return await self._connection.call(self._stub.Status, request, timeout_s)


def _pair(alive: object) -> tuple[str, str]:
    """A word of two letters would pass for a pair, and what it was meant to keep alive would be detached."""
    match alive:
        case (str(container_id), str(if_name)):
            return container_id, if_name
    raise TypeError(f"alive takes pairs (container_id, if_name), not {alive!r:.100}")
