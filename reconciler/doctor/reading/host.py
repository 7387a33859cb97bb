"""What the machine has left: features of its kernel, room in the kernel's tables, the disk, the clock."""

from __future__ import annotations

import ctypes
import gzip
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from netplumb.models.nodestate import NOTHING, Fullness
from netplumb.reconciler.doctor.facts import HostFacts
from netplumb.reconciler.kernel.connectionlosses import NO_ROOM, read_losses

FEATURES = {
    "CONFIG_VETH": "veth",
    "CONFIG_NF_TABLES": "nf_tables",
    "CONFIG_NF_CONNTRACK": "nf_conntrack",
    "CONFIG_NF_CONNTRACK_MARK": "",
    "CONFIG_NF_CT_NETLINK": "nf_conntrack_netlink",
    "CONFIG_NFT_CT": "nft_ct",
    "CONFIG_NFT_NAT": "nft_chain_nat",
    "CONFIG_NFT_MASQ": "nft_masq",
    "CONFIG_NFT_FIB_INET": "nft_fib_inet",
    "CONFIG_NFT_SOCKET": "nft_socket",
    "CONFIG_IFB": "ifb",
    "CONFIG_NET_SCH_TBF": "sch_tbf",
    "CONFIG_NET_SCH_INGRESS": "sch_ingress",
    "CONFIG_NET_CLS_U32": "cls_u32",
    "CONFIG_NET_ACT_MIRRED": "act_mirred",
    "CONFIG_IP_MULTIPLE_TABLES": "",
}
"""What rendering needs of the kernel, each with the module that has it where it is one."""

_PROC = Path("/proc")
_CONNTRACK = "sys/net/netfilter/nf_conntrack"
_STA_UNSYNC, _TIME_ERROR = 0x0040, 5
_TIMEX_BYTES = 208  # struct timex, adjtimex(2)
_libc = ctypes.CDLL(None, use_errno=True)


def read_host(data_dir: Path, made_at: float) -> HostFacts:
    """`made_at` is when the store was begun, in seconds since the epoch."""
    lacking, gone = read_features()
    disk, inodes, read_only = _disk(data_dir)
    return HostFacts(
        lacking=tuple(lacking),
        modules_gone=gone,
        conntrack=Fullness(_number(f"{_CONNTRACK}_count"), _number(f"{_CONNTRACK}_max")),
        conntrack_drops=read_losses(NO_ROOM),
        inotify=_inotify(),
        files=_files(),
        disk=disk,
        inodes=inodes,
        disk_read_only=read_only,
        clock_unsynchronised=_is_unsynchronised(),
        clock_behind_s=max(0.0, made_at - time.time()),
    )


def read_features() -> tuple[list[str], str]:
    """What the kernel lacks, and the folder of its modules where that is gone while some of them are not loaded."""
    release = os.uname().release
    folder = Path("/lib/modules", release)
    configured = _configuration(release, folder)
    if configured is None:
        return [], ""
    loaded = {line.split()[0] for line in _text("modules").splitlines()}
    there = _names_in(folder / "modules.dep") | _names_in(folder / "modules.builtin")
    lacking, gone = [], ""
    for option, module in FEATURES.items():
        match configured.get(option):
            case None:
                lacking.append(option)
            case "m" if module and module not in loaded and not Path("/sys/module", module).exists():
                if not folder.exists():
                    gone = str(folder)
                elif module not in there:
                    lacking.append(f"module {module}")
    return lacking, gone


def _configuration(release: str, folder: Path) -> dict[str, str] | None:
    """What the kernel was built with; None where it does not tell."""
    for path in (_PROC / "config.gz", Path(f"/boot/config-{release}"), folder / "config"):
        with suppress(OSError, EOFError):
            data = path.read_bytes()
            text = (gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data).decode(errors="replace")
            lines = (line.partition("=") for line in text.splitlines() if line.startswith("CONFIG_"))
            return {name: value for name, _, value in lines if value in ("y", "m")}
    return None


def _names_in(path: Path) -> set[str]:
    with suppress(OSError):
        paths = (line.partition(":")[0] for line in path.read_text().splitlines())
        return {Path(it).name.partition(".")[0].replace("-", "_") for it in paths}
    return set()


def _text(name: str) -> str:
    with suppress(OSError):
        return (_PROC / name).read_text()
    return ""


def _number(name: str) -> int:
    text = _text(name).strip()
    return int(text) if text.isdecimal() else 0


def _inotify() -> Fullness:
    """By all processes of this user, for whom the limit is; where a user namespace has one of its own, by those in it,
    if that is the fuller."""
    users = list(_inotify_users(os.geteuid()))
    here = _user_namespace("self")
    inside = [it for it in users if _user_namespace(it) == here]
    found = (
        Fullness(len(users), _number("sys/fs/inotify/max_user_instances")),
        Fullness(len(inside), _number("sys/user/max_inotify_instances")),
    )
    return max(found, key=lambda it: it.used / it.most if it.most else 0)


def _inotify_users(user: int) -> Iterator[str]:
    """The process of each instance."""
    for directory in _PROC.iterdir():
        if directory.name.isdecimal():
            with suppress(OSError):  # it ended meanwhile, or is not to be looked at
                if directory.stat().st_uid == user:
                    for descriptor in (directory / "fd").iterdir():
                        with suppress(OSError):
                            if str(descriptor.readlink()) == "anon_inode:inotify":
                                yield directory.name


def _user_namespace(process: str) -> str:
    with suppress(OSError):
        return str((_PROC / process / "ns/user").readlink())
    return ""


def _files() -> Fullness:
    told = _text("sys/fs/file-nr").split()
    return Fullness(int(told[0]), int(told[2])) if len(told) == 3 else NOTHING


def _disk(data_dir: Path) -> tuple[Fullness, Fullness, bool]:
    """Blocks and inodes of the file system that the store lies on, or would, and whether it is read-only."""
    place = next((it for it in (data_dir, *data_dir.parents) if it.exists()), Path("/"))
    told = os.statvfs(place)
    blocks = Fullness(told.f_blocks - told.f_bavail, told.f_blocks)
    return blocks, Fullness(told.f_files - told.f_favail, told.f_files), bool(told.f_flag & os.ST_RDONLY)


def _is_unsynchronised() -> bool:
    """Whether nobody keeps the clock in step; asking changes nothing."""
    buffer = ctypes.create_string_buffer(_TIMEX_BYTES)
    return int(_libc.adjtimex(buffer)) == _TIME_ERROR
