"""The wish for an attachment on the command line: one set of options for all commands that take one."""

# Annotations are read at import, by typer, so they are not postponed in this file.
import inspect
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from netplumb.api.cli.options import (
    NETNS_DIR,
    ContainerId,
    Daemon,
    Format,
    IfName,
    NewWorkload,
    Output,
    asking,
    netns_path,
    taking,
)

if TYPE_CHECKING:
    from netplumb.api.v1 import netplumb_pb2 as pb

Command: TypeAlias = "Callable[[pb.AttachRequest, Daemon, Format], None]"

_ADDRESSES, _PORTS, _LIMITS, _ISOLATION, _CARRIED = "Addresses and routes", "Ports", "Bandwidth", "Isolation", "Carried"


def _option(*names: str, help: str, panel: str | None = None, metavar: str | None = None) -> Any:  # noqa: A002
    return typer.Option(*names, help=help, rich_help_panel=panel, metavar=metavar)


def wishing(command: Command) -> Callable[..., None]:
    """Makes a command of the options that state a wish out of a function that takes it as a request."""

    @wraps(command)
    def run(daemon: Daemon, output: Format, **wish: Any) -> None:
        command(_request(**wish), daemon, output)

    wished = inspect.signature(_request).parameters.values()
    answered = inspect.signature(_answered).parameters.values()
    return asking(taking(run, [*wished, *answered]))


def _answered(output: Output = Format.TABLE) -> None:
    """What every command takes that answers."""


def _request(
    workload: NewWorkload,
    netns: Annotated[
        str, _option("--netns", metavar="PATH|NAME", help=f"The network namespace; a name is one in {NETNS_DIR}.")
    ],
    if_name: IfName = "",
    container_id: ContainerId = "",
    label: Annotated[
        list[str] | None, _option("--label", metavar="KEY=VALUE", help="A free-form label. Repeatable.")
    ] = None,
    namespace: Annotated[
        str, _option("--namespace", metavar="NAME", help="The namespace that network policies find it in.")
    ] = "",
    mtu: Annotated[int, typer.Option("--mtu", min=0, max=65535, help="MTU of both ends; 0 takes the node's.")] = 0,
    addresses: Annotated[
        list[str] | None,
        _option(
            "--address",
            metavar="IP",
            help="A static address. Repeatable; a family without one takes a pool's.",
            panel=_ADDRESSES,
        ),
    ] = None,
    allow_foreign_address: Annotated[
        bool,
        _option(
            "--allow-foreign-address",
            help="Accept a static address in a network that the node is connected to.",
            panel=_ADDRESSES,
        ),
    ] = False,
    pool: Annotated[
        str, _option("--pool", metavar="NAME", help="The pools to take addresses from.", panel=_ADDRESSES)
    ] = "",
    mac: Annotated[
        str, _option("--mac", help="MAC address; without it the assigned one is kept.", panel=_ADDRESSES)
    ] = "",
    route: Annotated[
        list[str] | None,
        _option("--route", metavar="PREFIX", help="A route besides the default route. Repeatable.", panel=_ADDRESSES),
    ] = None,
    default_route: Annotated[
        bool | None,
        _option(
            "--default-route/--no-default-route",
            help="Whether it holds the workload's default route. Without either, the first interface does.",
            panel=_ADDRESSES,
        ),
    ] = None,
    port: Annotated[
        list[str] | None,
        _option(
            "--port",
            metavar="MAPPING",
            help="A port of the node that leads to the workload: 8080:80, 5000-5009:5000/udp, 127.0.0.1:8080:80. "
            "Repeatable.",
            panel=_PORTS,
        ),
    ] = None,
    ingress_rate: Annotated[
        str, _option("--ingress-rate", metavar="RATE", help="What it receives at most, as 100M.", panel=_LIMITS)
    ] = "",
    ingress_burst: Annotated[
        str, _option("--ingress-burst", metavar="BITS", help="What may pass unshaped.", panel=_LIMITS)
    ] = "",
    egress_rate: Annotated[
        str, _option("--egress-rate", metavar="RATE", help="What it sends at most, as 100M.", panel=_LIMITS)
    ] = "",
    egress_burst: Annotated[
        str, _option("--egress-burst", metavar="BITS", help="What may pass unshaped.", panel=_LIMITS)
    ] = "",
    isolate_node: Annotated[
        bool | None,
        _option(
            "--isolate-node/--no-isolate-node",
            help="Keep it from the node's own services. Without either, the daemon's setting holds.",
            panel=_ISOLATION,
        ),
    ] = None,
    isolate_workloads: Annotated[
        bool | None,
        _option(
            "--isolate-workloads/--no-isolate-workloads",
            help="Keep it from other workloads, or open it to all. Without either, the daemon's setting holds.",
            panel=_ISOLATION,
        ),
    ] = None,
    sysctl: Annotated[
        list[str] | None,
        _option(
            "--sysctl", metavar="NAME=VALUE", help="A kernel parameter of the workload. Repeatable.", panel=_CARRIED
        ),
    ] = None,
    dns_server: Annotated[
        list[str] | None, _option("--dns-server", metavar="IP", help="A name server. Repeatable.", panel=_CARRIED)
    ] = None,
    dns_search: Annotated[
        list[str] | None, _option("--dns-search", metavar="DOMAIN", help="A search domain. Repeatable.", panel=_CARRIED)
    ] = None,
    dns_option: Annotated[
        list[str] | None,
        _option("--dns-option", metavar="OPTION", help="An option of resolv.conf. Repeatable.", panel=_CARRIED),
    ] = None,
    annotation: Annotated[
        list[str] | None,
        _option(
            "--annotation",
            metavar="KEY=VALUE",
            help="Kept if the daemon's setting annotation_keys allows it. Repeatable.",
            panel=_CARRIED,
        ),
    ] = None,
) -> "pb.AttachRequest":
    from netplumb.api.v1 import netplumb_pb2 as pb

    dns = pb.DNS(servers=dns_server, searches=dns_search, options=dns_option)
    limits = {
        "ingress_rate": ingress_rate,
        "ingress_burst": ingress_burst,
        "egress_rate": egress_rate,
        "egress_burst": egress_burst,
    }
    return pb.AttachRequest(
        workload_id=workload,
        netns=pb.NetNSAttachment(netns_path=netns_path(netns), if_name=if_name),
        container_id=container_id,
        labels=_pairs(label, "--label"),
        namespace=namespace,
        addresses=addresses,
        allow_foreign_address=allow_foreign_address,
        mtu=mtu,
        mac=mac,
        port_mappings=[_port_mapping(text) for text in port or ()],
        bandwidth=_bandwidth({name: text for name, text in limits.items() if text}),
        dns=dns if dns.ByteSize() else None,
        routes=[pb.Route(dst=dst) for dst in route or ()],
        pool=pool,
        sysctls=_pairs(sysctl, "--sysctl"),
        default_route=default_route,
        isolate_node=isolate_node,
        isolate_workloads=isolate_workloads,
        annotations=_pairs(annotation, "--annotation"),
    )


def _pairs(pairs: list[str] | None, option: str) -> dict[str, str]:
    found = {}
    for pair in pairs or ():
        key, equals, value = pair.partition("=")
        if not (key and equals):
            raise typer.BadParameter(f"{pair!r} is not KEY=VALUE", param_hint=option)
        found[key] = value
    return found


def _port_mapping(text: str) -> "pb.PortMapping":
    from pydantic import TypeAdapter, ValidationError

    from netplumb.api.answers import port_mapping
    from netplumb.models.ports import PortMappings

    try:
        (mapping,) = TypeAdapter(PortMappings).validate_python((text,))
    except ValidationError as error:
        raise typer.BadParameter(_first(error), param_hint="--port") from None
    return port_mapping(mapping)


def _bandwidth(limits: dict[str, str]) -> "pb.Bandwidth | None":
    from pydantic import ValidationError

    from netplumb.api.answers import bandwidth
    from netplumb.models.bandwidth import Bandwidth

    if not limits:
        return None
    try:
        return bandwidth(Bandwidth.model_validate(limits))
    except ValidationError as error:
        name = "-".join(str(part) for part in error.errors()[0]["loc"][:1]).replace("_", "-")
        raise typer.BadParameter(_first(error), param_hint=f"--{name}" if name else "bandwidth") from None


def _first(error: Any) -> str:
    """The first of pydantic's mistakes, in the words of ours where it has any."""
    mistake = error.errors(include_url=False)[0]
    return str(mistake.get("ctx", {}).get("error", mistake["msg"]))
