"""What `netplumb doctor` says on a node of a cluster: each fault made for real, on the node or to etcd."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.cluster.etcds import Secured
from tests.cluster.sites import Site, site
from tests.e2e.certificates import Authority
from tests.e2e.doctors import Said, said_by_command
from tests.e2e.hosts import Host
from tests.e2e.nodes import GATEWAY_V4
from tests.e2e.waiting import until

LONG_S = 30.0
OF_CLUSTERS = ("etcd", "etcd-certificate", "cluster-clock", "cluster-underlay", "cluster-pool-overlap")
LATE = """
import http.server
class Late(http.server.BaseHTTPRequestHandler):
    def do_HEAD(self):
        self.send_response(200)
        self.end_headers()
    def date_time_string(self, timestamp=None):
        return "Thu, 01 Jan 2099 00:00:00 GMT"
http.server.HTTPServer(("", 2379), Late).serve_forever()
"""


async def said(it: Site, number: int = 0) -> Said:
    return (await asyncio.to_thread(said_by_command, it.machines[number].daemon))[1]


async def found(it: Site) -> list[str]:
    """The checks of clusters that find something."""
    told = await said(it)
    assert not told.unread
    return [finding["check"] for finding in told.findings if finding["check"] in OF_CLUSTERS]


@contextmanager
def of_another_time(host: Host) -> Iterator[None]:
    """At etcd's port there, with another idea of what time it is."""
    process = subprocess.Popen(host.command(sys.executable, "-c", LATE), stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.kill()
        process.wait()


async def test_faults_of_a_node_in_its_cluster_are_found(directory: Path) -> None:
    """One after the other, and nothing of it while all is well."""
    async with site(2, directory, mode="vxlan", cluster={"underlay": "up0"}) as it:
        one, _ = it.machines
        assert await found(it) == []

        one.host.ip(f"route add 10.131.0.0/16 via {GATEWAY_V4}")
        overlap = (await said(it)).one("cluster-pool-overlap", "10.128.0.0/14", "10.131.0.0/16")
        assert overlap["severity"] == "risk"
        one.host.ip("route delete 10.131.0.0/16")

        one.host.run("nft 'table ip guard { chain in { type filter hook input priority 0; udp dport 4789 drop; }; }'")
        blocked = (await said(it)).one("foreign-firewall", "VXLAN from other nodes")
        one.host.run(blocked["heal"])
        assert not [each for each in (await said(it)).of("foreign-firewall") if "VXLAN" in each["what"]]

        one.host.ip("-4 address flush dev up0 scope global")
        one.host.ip("-6 address flush dev up0 scope global")
        assert "up0 has no address" in (await said(it)).one("cluster-underlay")["what"]
        assert "no member of etcd answers" in (await said(it)).one("etcd")["what"]


async def test_an_underlay_that_is_on_no_interface_is_found(directory: Path) -> None:
    async with site(1, directory, cluster={"underlay": "192.0.2.77"}) as it:
        assert "no interface of this node has 192.0.2.77" in (await said(it)).one("cluster-underlay")["what"]
        it.machines[0].host.ip("address add 192.0.2.77/24 dev up0")
        assert await found(it) == []


async def test_members_that_are_away_and_their_clocks_are_found(directory: Path) -> None:
    """One of three that does not answer is a risk, all of them a fault. Where somebody answers whose clock is another,
    that is told; one of several whose clock is right is enough."""
    async with site(1, directory, members=3) as it:
        assert await found(it) == []
        leader = await asyncio.to_thread(it.etcd.leader)  # without it the others would answer nothing for a moment
        dead = next(member for member in it.etcd.members if member is not leader)
        assert dead.host is not None
        dead.kill()
        away = (await said(it)).one("etcd", dead.endpoint)
        assert away["severity"] == "risk"
        with of_another_time(dead.host):

            async def answers() -> bool:
                return dead.host is not None and "200" in it.machines[0].host.run(
                    f"{sys.executable} -c \"import http.client as h; c = h.HTTPConnection('{dead.address}', 2379);"
                    " c.request('HEAD', '/'); print(c.getresponse().status)\"",
                    ok=False,
                )

            await until(answers, "it answers", within_s=LONG_S)
            assert await found(it) == ["etcd"]
            it.etcd.kill()
            told = await said(it)
            assert told.one("etcd", "no member of etcd answers")["severity"] == "broken"
            assert "behind that of etcd's members" in told.one("cluster-clock")["what"]


async def test_certificates_that_run_out_and_rights_that_lack_are_found(directory: Path) -> None:
    authority = Authority(directory / "pki").founded()
    cert, key = authority.issued("root", alternative="IP:192.0.2.200")
    files = Secured(authority.certificate, cert, key)
    named = {"ca": str(files.ca), "cert": str(cert), "key": str(key)}
    async with site(1, directory, secured=files, cluster=named) as it:
        told = await said(it)
        assert {finding["check"] for finding in told.findings} & set(OF_CLUSTERS) == {"etcd-certificate"}
        for name in ("ca", "cert"):
            assert told.one("etcd-certificate", f"cluster.{name}", "runs out in")["severity"] == "risk"

        for words in ("user add root --no-password", "user grant-role root root", "user add stranger --no-password"):
            it.etcd.ctl(*words.split())
        it.etcd.ctl("auth", "enable")
        for whose in ("stranger", "expired"):
            new, its_key = authority.issued(whose, alternative="IP:192.0.2.200", expired=whose == "expired")
            cert.write_bytes(new.read_bytes())
            key.write_bytes(its_key.read_bytes())
            told = await said(it)
            if whose == "stranger":
                assert "permission denied" in told.one("etcd", "refuses this node")["what"]
            else:
                assert told.one("etcd-certificate", "cluster.cert", "ran out")["severity"] == "broken"
                assert told.one("etcd", "no member of etcd answers")
        cert.write_text("nothing")
        assert "no certificate in it" in (await said(it)).one("etcd-certificate", "cluster.cert")["what"]
