"""What fuzzing starts from: a valid request of every method with every field filled, and valid state files."""

from __future__ import annotations

from collections.abc import Iterator

from google.protobuf.message import Message

from netplumb.api.v1 import netplumb_pb2 as pb

METHODS = tuple(method.name for method in pb.DESCRIPTOR.services_by_name["WorkloadNetworking"].methods)

STATE_FILES = (
    b"kind: Attachment\nworkload_id: web-1\nnetns: {name: web-1, create: true}\naddresses: [10.213.0.10, 'fd13::10']\n",
    b"""# every field
kind: Attachment
workload_id: db/0
netns:
  path: /proc/4711/ns/net
if_name: net1
container_id: 8f3c
mac: 02:00:5e:10:00:01
mtu: 1400
labels: {app: "db", 'tier': x}
port_mappings:
- 8080:80
- 8000-8010:9000-9010/udp
- "[::1]:443:443/tcp"
- {host_port: 5000-5003, container_port: 5000, protocol: sctp, host_ip: 127.0.0.1}
bandwidth: {ingress_rate: 100M, ingress_burst: 1.5M, egress_rate: 800k, egress_burst: 0}
dns: {servers: [192.0.2.53, "fe80::53%eth0"], searches: [example.com], options: ["ndots:5"]}
routes: [{dst: 192.0.2.0/24}, {dst: "2001:db8::/32", gw: "fe80::1"}]
pool: blue
sysctls: {net.ipv4.tcp_keepalive_time: 600, net/core/somaxconn: "1024"}
default_route: true
isolate_node: false
isolate_workloads: no
allow_foreign_address: true
annotations:
  a/b: |
    several
    lines
---
kind: Attachment
workload_id: second
netns: {name: second}
...
""",
    b'{"kind": "Attachment", "workload_id": "\\ud83d\\ude00", "netns": {"path": "/x"}, "mtu": 1500}',
    b"%YAML 1.2\n--- &a !!map {? k : v, <<: *a, x: [1, 2.5, ~, null]}\n--- |+2\n   a\n--- >-\n folded\n",
    b'--- "\\x1b\\u2028\\\n"\n',
)  # fmt: skip

WORDS = (
    "kind: Attachment\n", "workload_id: ", "netns: {path: /x}\n", "port_mappings: [", "8000-8010:9000-9010/udp",
    "bandwidth: ", "ingress_rate: ", "dns: {servers: [", "fe80::1%", "routes: [{dst: ", "sysctls: {", "net.ipv4.",
    "labels: {", "annotations: {", "addresses: [", "---\n", "...\n", "\\u2028", "\\ud800", "!!", "&a ", "*a",
    "? ", "<<: ", "|+1\n", ">-\n", "%TAG ! x\n", "\u202e",
)  # fmt: skip


def attach_request(number: int = 1) -> pb.AttachRequest:
    """One with every field."""
    return pb.AttachRequest(
        workload_id=f"pod-{number}",
        netns=pb.NetNSAttachment(netns_path=f"/run/netns/pod-{number}", if_name="eth1"),
        container_id=f"c-{number}",
        labels={"app": "web", "pod-template-hash": ""},
        addresses=[f"10.213.1.{number}", f"fd13::1:{number}"],
        mtu=1400,
        mac=f"02:00:5e:10:00:{number:02x}",
        port_mappings=[
            pb.PortMapping(host_port=8080, container_port=80, protocol="tcp", host_ip="192.0.2.1"),
            pb.PortMapping(host_port=9000, host_port_end=9010, container_port=9000, protocol="UDP"),
        ],
        bandwidth=pb.Bandwidth(ingress_rate=10**8, ingress_burst=10**6, egress_rate=8000, egress_burst=1),
        dns=pb.DNS(servers=["192.0.2.53", "fe80::53%eth1"], searches=["example.com"], options=["ndots:5"]),
        routes=[pb.Route(dst="192.0.2.0/24", gw="169.254.77.1"), pb.Route(dst="2001:db8::/32")],
        pool="blue",
        sysctls={"net.ipv4.tcp_keepalive_time": "600"},
        default_route=True,
        isolate_node=False,
        isolate_workloads=True,
        annotations={"io.kubernetes.cri.sandbox-name": "pod", "note": "two\nlines"},
        allow_foreign_address=True,
        namespace="shop",
    )


def detach_request(number: int = 1) -> pb.DetachRequest:
    netns = pb.NetNSAttachment(netns_path=f"/run/netns/pod-{number}", if_name="eth1")
    return pb.DetachRequest(workload_id=f"pod-{number}", netns=netns, container_id=f"c-{number}")


def requests() -> Iterator[tuple[str, Message]]:
    """Method and request; several of the methods that take more than a key."""
    yield "Attach", attach_request()
    plain = pb.NetNSAttachment(netns_path="/run/netns/pod-2")
    yield "Attach", pb.AttachRequest(workload_id="pod-2", netns=plain)
    yield "Detach", detach_request()
    yield "Detach", pb.DetachRequest(workload_id="pod-2")
    yield "Status", pb.StatusRequest()
    yield "Check", pb.CheckRequest(workload_id="pod-1", if_name="eth1")
    yield "Get", pb.GetRequest(workload_id="pod-1", if_name="eth1")
    yield "List", pb.ListRequest(page_size=2, page_token="cG9kLTEAZXRoMQ==")
    yield "Watch", pb.WatchRequest()
    yield "Describe", pb.DescribeRequest(workload_id="pod-1", if_name="eth1", events=3)
    yield "Events", pb.EventsRequest(about="pod-1/eth1", since=1.5, most=3)
    yield "Plan", pb.PlanRequest()
    yield "Plan", pb.PlanRequest(attach=attach_request())
    yield "Plan", pb.PlanRequest(detach=detach_request())
    yield "Plan", pb.PlanRequest(files=pb.StateFiles(files=[pb.StateFile(name="pods.yaml", content=STATE_FILES[0])]))
    alive = [pb.GCRequest.Interface(container_id="c-1", if_name="eth1"), pb.GCRequest.Interface(container_id="pod-2")]
    yield "GC", pb.GCRequest(source="cni/net", alive=pb.GCRequest.Alive(interfaces=alive))
    yield "GC", pb.GCRequest(source="rpc", alive=pb.GCRequest.Alive())
    yield "GC", pb.GCRequest()
