"""State files: a directory that the daemon follows, and what it makes of people's edits and mistakes."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import patch

import grpc

from netplumb.api.client.asynchronous import AsyncClient
from netplumb.api.client.errors import ClientError
from netplumb.api.v1 import netplumb_pb2 as pb
from tests import namespaces
from tests.e2e.daemons import Daemon
from tests.e2e.hosts import Host, kernel_state
from tests.e2e.statefiles import declare, document
from tests.e2e.waiting import until
from tests.e2e.wishes import attach, condition, detach, refused


async def _found(client: AsyncClient, workload_id: str) -> pb.Attachment | None:
    try:
        return await client.get(workload_id)
    except ClientError:
        return None


async def _attached(client: AsyncClient, workload_id: str = "web") -> bool:
    found = await _found(client, workload_id)
    return found is not None and found.phase == "Attached" and found.generation == found.observed_generation


async def _gone(client: AsyncClient, workload_id: str = "web") -> bool:
    return await _found(client, workload_id) is None


async def _file_problem(client: AsyncClient) -> str:
    """What Status says of broken files."""
    found = [c.message for c in (await client.status()).conditions if c.type == "StateFileBroken" and c.status]
    return "; ".join(found)


async def test_a_file_that_is_added_attaches(daemon: Daemon, client: AsyncClient, node: Host, web: Host) -> None:
    """A new file's attachment comes true, and is told as the file's."""
    declare(daemon, "web.yaml", document("web", web, addresses=["10.213.0.10"], app="web"))
    await until(lambda: _attached(client), "attached")
    found = await client.get("web")
    assert found.source == "file/web.yaml"
    assert found.addresses[0] == "10.213.0.10"
    assert len(found.addresses) == 2
    assert dict(found.labels) == {"app": "web"}
    assert node.ping("10.213.0.10")


async def test_a_file_that_is_edited_changes_in_place(daemon: Daemon, client: AsyncClient, web: Host) -> None:
    """Another address is another address of the same interface."""
    declare(daemon, "web.yaml", document("web", web, addresses=["10.213.0.10"]))
    await until(lambda: _attached(client), "attached")
    index = web.link("eth0")["ifindex"]
    declare(daemon, "web.yaml", document("web", web, addresses=["10.213.0.11"]))
    await until(lambda: "10.213.0.11/32" in web.addresses("eth0"), "the new address")
    await until(lambda: "10.213.0.10/32" not in web.addresses("eth0"), "the old address goes")
    assert web.link("eth0")["ifindex"] == index


async def test_a_file_that_is_removed_detaches(daemon: Daemon, client: AsyncClient, web: Host, db: Host) -> None:
    """What only that file declared goes; the other documents' attachments stay."""
    path = declare(daemon, "web.yaml", document("web", web))
    declare(daemon, "db.yaml", document("db", db))
    await until(lambda: _attached(client), "attached")
    await until(lambda: _attached(client, "db"), "attached")
    path.unlink()
    await until(lambda: _gone(client), "detached")
    assert "eth0" not in web.links()
    assert "eth0" in db.links()


async def test_a_document_that_is_removed_detaches(daemon: Daemon, client: AsyncClient, web: Host, db: Host) -> None:
    """A file that declares one attachment less loses that one."""
    declare(daemon, "all.yaml", document("web", web), document("db", db))
    await until(lambda: _attached(client), "attached")
    await until(lambda: _attached(client, "db"), "attached")
    declare(daemon, "all.yaml", document("db", db))
    await until(lambda: _gone(client), "detached")
    assert "eth0" not in web.links()
    assert await _attached(client, "db")


async def test_a_file_that_is_renamed_keeps_its_attachments(
    daemon: Daemon, client: AsyncClient, node: Host, web: Host
) -> None:
    """Under its new name the file has the same attachment, and nothing of it was made anew."""
    path = declare(daemon, "old.yaml", document("web", web))
    await until(lambda: _attached(client), "attached")
    before = kernel_state(node, web)
    path.rename(path.with_name("new.yaml"))

    async def renamed() -> bool:
        return (await client.get("web")).source == "file/new.yaml"

    await until(renamed, "the source has the new name")
    await until(lambda: _attached(client), "attached")
    assert kernel_state(node, web) == before


async def test_a_namespace_that_was_asked_for_is_made_and_removed(
    daemon: Daemon, client: AsyncClient, node: Host
) -> None:
    """`create: true` makes the named namespace, and takes it away with the attachment."""
    made = Host("made")
    path = declare(daemon, "made.yaml", document("made", "made", create=True))
    await until(lambda: _attached(client, "made"), "attached")
    assert "eth0" in made.links()
    assert node.ping((await client.get("made")).addresses[0])
    path.unlink()
    await until(lambda: _gone(client, "made"), "detached")
    assert not (namespaces.NETNS_DIR / "made").exists()


async def test_a_namespace_that_netplumb_made_is_removed_after_a_restart(daemon: Daemon, client: AsyncClient) -> None:
    """That netplumb made the namespace is known to the next daemon."""
    path = declare(daemon, "made.yaml", document("made", "made", create=True))
    await until(lambda: _attached(client, "made"), "attached")
    daemon.kill9()
    path.unlink()
    await daemon.start()
    async with daemon.client() as later:
        await until(lambda: _gone(later, "made"), "detached")
    assert not (namespaces.NETNS_DIR / "made").exists()


async def test_a_namespace_that_somebody_made_anew_is_not_removed(daemon: Daemon, client: AsyncClient) -> None:
    """A namespace that took the place of the one netplumb made is another's, whatever its name."""
    path = declare(daemon, "made.yaml", document("made", "made", create=True))
    await until(lambda: _attached(client, "made"), "attached")
    daemon.kill9()
    path.unlink()
    another = Host("made")
    another.remake()
    await daemon.start()
    async with daemon.client() as later:
        await until(lambda: _gone(later, "made"), "detached")
    assert (namespaces.NETNS_DIR / "made").exists()
    another.remove()


async def test_a_namespace_that_was_made_stays_as_long_as_one_is_about_it(
    daemon: Daemon, client: AsyncClient, node: Host
) -> None:
    """Whichever attachment it was made for: another interface of the workload, or who has its place in the file."""
    first, second = document("made", "made", create=True), document("made", "made", create=True) + "if_name: eth1\n"
    path = declare(daemon, "made.yaml", first, second)
    made = Host("made")

    async def attached(*keys: tuple[str, str]) -> None:
        async def so() -> bool:
            found = {(it.workload_id, it.if_name): it.phase async for it in client.list()}
            return found == dict.fromkeys(keys, "Attached") and not (await client.plan()).changes

        await until(so, f"{keys} are attached")
        if_names = {if_name for _, if_name in keys}
        assert set(made.links()) == {"lo", "of-a-process", *if_names}, "it is another namespace"
        for workload_id, if_name in keys:
            assert node.ping((await client.get(workload_id, if_name)).addresses[0])

    await until(lambda: _attached(client, "made"), "attached")
    made.ip("link add of-a-process type bridge")
    await attached(("made", "eth0"), ("made", "eth1"))
    declare(daemon, "made.yaml", second)
    await attached(("made", "eth1"))
    declare(daemon, "made.yaml", document("other", "made", create=True) + "if_name: eth1\n")
    await attached(("other", "eth1"))
    declare(daemon, "made.yaml", document("other", "made", create=True))
    await attached(("other", "eth0"))
    declare(daemon, "made.yaml", document("other", "elsewhere", create=True))
    await until(lambda: not (namespaces.NETNS_DIR / "made").exists(), "nobody is there any more")
    elsewhere = Host("elsewhere")

    async def moved() -> bool:
        it = await client.get("other")
        return it.observed_generation == it.generation and not (await client.plan()).changes

    await until(moved, "it is elsewhere")
    assert "eth0" in elsewhere.links()
    path.unlink()
    await until(lambda: _gone(client, "other"), "detached")
    assert not elsewhere.exists


async def test_a_namespace_that_was_there_is_not_removed(daemon: Daemon, client: AsyncClient, web: Host) -> None:
    """`create: true` for a namespace that exists uses it and never removes it."""
    path = declare(daemon, "web.yaml", document("web", "web", create=True))
    await until(lambda: _attached(client), "attached")
    path.unlink()
    await until(lambda: _gone(client), "detached")
    assert (namespaces.NETNS_DIR / "web").exists()
    assert web.links().keys() == {"lo"}


async def test_a_file_that_breaks_keeps_its_last_good_content(
    daemon: Daemon, client: AsyncClient, node: Host, web: Host
) -> None:
    """A typo changes nothing; Status names file, line and reason until it is mended."""
    declare(daemon, "web.yaml", document("web", web, app="old"))
    await until(lambda: _attached(client), "attached")
    before = kernel_state(node, web)
    declare(daemon, "web.yaml", document("web", web) + "adresses: [10.213.0.9]\n")
    await until(lambda: _file_problem(client), "the mistake is told")
    problem = await _file_problem(client)
    assert "web.yaml:4" in problem
    assert "adresses" in problem
    assert await _attached(client)
    assert kernel_state(node, web) == before
    declare(daemon, "web.yaml", document("web", web, app="new"))

    async def mended() -> bool:
        return not await _file_problem(client) and dict((await client.get("web")).labels) == {"app": "new"}

    await until(mended, "the mended file is taken")


async def test_a_restart_beside_a_broken_file_changes_nothing(daemon: Daemon, node: Host, web: Host) -> None:
    """The last good content, its addresses and its generation outlive the daemon that read it."""
    declare(daemon, "web.yaml", document("web", web))
    async with daemon.client() as client:
        await until(lambda: _attached(client), "attached")
        found = await client.get("web")
    before = kernel_state(node, web)
    declare(daemon, "web.yaml", "kind: [\n")
    daemon.kill9()
    await daemon.start()
    async with daemon.client() as client:
        await until(lambda: _file_problem(client), "the mistake is told")
        await until(lambda: _attached(client), "attached")
        again = await client.get("web")
    assert list(again.addresses) == list(found.addresses)
    assert again.generation == found.generation
    assert kernel_state(node, web) == before


async def test_a_missing_directory_removes_nothing(daemon: Daemon, client: AsyncClient, web: Host) -> None:
    """The directory may go and come back; what it declared stays meanwhile."""
    declare(daemon, "web.yaml", document("web", web))
    await until(lambda: _attached(client), "attached")
    away = daemon.state_files.with_name("away")
    daemon.state_files.rename(away)
    await until(lambda: _file_problem(client), "the missing directory is told")
    assert await _attached(client)
    away.rename(daemon.state_files)

    async def told_no_more() -> bool:
        return not await _file_problem(client)

    await until(told_no_more, "it is found again")
    assert await _attached(client)


async def test_of_two_files_with_one_key_the_second_waits(
    daemon: Daemon, client: AsyncClient, node: Host, web: Host, db: Host
) -> None:
    """The first holder stays; the second is told of, and takes over with the same addresses when the first goes."""
    first = declare(daemon, "a.yaml", document("pod", web))
    await until(lambda: _attached(client, "pod"), "attached")
    addresses = list((await client.get("pod")).addresses)
    declare(daemon, "b.yaml", document("pod", db))
    await until(lambda: _conflict(client), "the conflict is told")
    assert "file/a.yaml" in await _conflict(client)
    assert (await client.get("pod")).source == "file/a.yaml"
    first.unlink()
    await until(lambda: "eth0" in db.links(), "the second takes over")
    await until(lambda: _attached(client, "pod"), "attached")
    found = await client.get("pod")
    assert found.source == "file/b.yaml"
    assert list(found.addresses) == addresses
    assert "eth0" not in web.links()
    assert await _conflict(client) == ""


async def _conflict(client: AsyncClient) -> str:
    """What the wishes that wait for another's key are told, wherever that is."""
    told = [
        ready.message
        async for attachment in client.list()
        if attachment.phase == "Conflict" and (ready := condition(attachment, "Ready")) is not None
    ]
    told += [c.message for c in (await client.status()).conditions if "Conflict" in (c.type, c.reason)]
    return "; ".join(told)


async def test_an_rpc_does_not_take_a_files_key(daemon: Daemon, client: AsyncClient, web: Host, db: Host) -> None:
    """Attach of what a file holds is ALREADY_EXISTS, naming the file; Detach of it FAILED_PRECONDITION."""
    declare(daemon, "web.yaml", document("web", web))
    await until(lambda: _attached(client), "attached")
    with refused(grpc.StatusCode.ALREADY_EXISTS, "file/web.yaml"):
        await client.attach(attach(db, "web"))
    with refused(grpc.StatusCode.FAILED_PRECONDITION, "file/web.yaml"):
        await client.detach(detach("web", web.path))
    await client.detach(detach("web", db.path))
    assert await _attached(client)


async def test_a_file_takes_over_what_an_rpc_gives_up(daemon: Daemon, client: AsyncClient, web: Host) -> None:
    """A file whose key an RPC holds waits, and has it after the Detach."""
    await client.attach(attach(web))
    declare(daemon, "web.yaml", document("web", web))
    await until(lambda: _conflict(client), "the conflict is told")
    assert (await client.get("web")).source == "rpc"
    await client.detach(detach("web"))
    await until(lambda: _attached(client), "attached")
    assert (await client.get("web")).source == "file/web.yaml"


async def test_static_addresses_need_no_pool(daemon: Daemon, node: Host, web: Host) -> None:
    """State files with addresses of their own work where no pool is configured."""
    daemon.configure(pools=())
    await daemon.restart()
    declare(daemon, "web.yaml", document("web", web, addresses=["198.51.100.7"]))
    async with daemon.client() as client:
        await until(lambda: _attached(client), "attached")
    assert node.ping("198.51.100.7")


async def test_files_that_no_setting_names_any_more_are_told(directory: Path, node: Host, web: Host) -> None:
    """What they declared stays, since a setting that is gone may be a mistake; it goes where the setting says so."""
    daemon = Daemon(node, directory)
    named = daemon.arguments()
    try:
        await daemon.start()
        declare(daemon, "web.yaml", document("web", web))
        await until(lambda: "eth0" in web.links(), "it is attached")
        daemon.terminate()
        (directory / "empty").mkdir()
        for where in ([], [f"--state-files={directory}/empty"]):
            flags = [it for it in named if not it.startswith("--state-files")] + where
            with patch.object(daemon, "arguments", return_value=flags):
                await daemon.start()
            async with daemon.client() as client:
                if where:
                    await until(lambda: "eth0" not in web.links(), "it goes")
                told = {it.type: it.message for it in (await client.status()).conditions}
                assert ("file/web.yaml" in told.get("StateFilesUnread", "")) is not bool(where)
                assert ("eth0" in web.links()) is not bool(where)
            daemon.terminate()
    finally:
        daemon.end()
