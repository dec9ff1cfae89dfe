# SPDX-License-Identifier: Apache-2.0
"""penstock.kernel against the running kernel, with programs of the tests' own."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest

from penstock.errors import DatapathError
from penstock.kernel import netlink, sysctl
from penstock.kernel.bpffs import BPFFS, PinDirectory, is_bpffs, mount
from penstock.kernel.libbpf import LibbpfError
from penstock.kernel.links import (
    ClsactFilter,
    Link,
    XdpMode,
    attach_tcx,
    attach_xdp,
    query_tcx,
    query_xdp,
)
from penstock.kernel.maps import ArrayMap, HashMap, Map, PerCpuArray, Update, possible_cpus
from penstock.kernel.objects import ObjectFile
from penstock.kernel.probe import probe
from penstock.kernel.programs import Program, SkbContext, XdpContext

pytestmark = pytest.mark.root

SOURCE = Path(__file__).parent / "kernel_layer.bpf.c"
PACKET = bytes(12) + b"\x08\x00" + bytes(range(50))
CLONE_NEWNET = 0x40000000


@pytest.fixture(scope="module")
def compiled(compile_bpf: Callable[[Path], Path]) -> Path:
    return compile_bpf(SOURCE)


@pytest.fixture
def opened(compiled: Path) -> Iterator[ObjectFile]:
    with ObjectFile(compiled) as found:
        found.skip_program("careless")
        yield found


@pytest.fixture
def loaded(opened: ObjectFile) -> ObjectFile:
    opened.load()
    return opened


@pytest.fixture
def pins() -> Iterator[PinDirectory]:
    mount()
    directory = PinDirectory(BPFFS / "penstock-tests" / f"layer-{os.getpid()}")
    directory.create()
    yield directory
    directory.remove()


@pytest.fixture
def namespace() -> Iterator[None]:
    """A network namespace for this thread, gone when the test is."""
    libc = ctypes.CDLL(None, use_errno=True)
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    assert libc.unshare(CLONE_NEWNET) == 0
    try:
        ip("link", "set", "lo", "up")
        yield
    finally:
        assert libc.setns(before, CLONE_NEWNET) == 0
        os.close(before)


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)


def ifindex(name: str) -> int:
    return next(one.index for one in netlink.interfaces() if one.name == name)


def counted(loaded: ObjectFile, index: int) -> tuple[int, ...]:
    with loaded.map("counters", PerCpuArray) as counters:
        return counters.sum(index)


class TestObject:
    def test_a_verifier_refusal_is_one_sentence_with_the_log_beside_it(
        self, compiled: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        with ObjectFile(compiled) as careless, pytest.raises(LibbpfError) as caught:
            careless.load()
        assert str(caught.value) == (
            "the kernel's verifier refused program careless: "
            "R0 invalid mem access 'map_value_or_null'"
        )
        assert caught.value.errno == errno.EACCES
        assert "processed" in caught.value.log
        assert capfd.readouterr() == ("", "")

    def test_files_that_are_no_objects(self, tmp_path: Path) -> None:
        with pytest.raises(DatapathError, match="is missing"):
            ObjectFile(tmp_path / "none.o")
        (tmp_path / "text.o").write_text("text")
        with pytest.raises(LibbpfError, match="cannot open the BPF object") as caught:
            ObjectFile(tmp_path / "text.o")
        assert "ELF" in caught.value.log

    def test_unknown_names(self, loaded: ObjectFile) -> None:
        with pytest.raises(DatapathError, match="no map nothing"):
            loaded.map("nothing", Map)
        with pytest.raises(DatapathError, match="no program nothing"):
            loaded.program("nothing")
        with pytest.raises(DatapathError, match="no variable nothing"):
            loaded.set_constants({"nothing": 1})
        with pytest.raises(DatapathError, match="careless is not loaded"):
            loaded.program("careless")

    def test_sizes_and_constants_are_set_before_the_load(self, opened: ObjectFile) -> None:
        opened.set_max_entries("counters", 33)
        opened.set_constants({"answer": 99, "calls": 100, "constant": {"port": 443}})
        opened.load()
        with opened.map("counters", PerCpuArray) as counters:
            assert len(counters) == opened.max_entries("counters") == 33
        context = SkbContext()
        with opened.program("on_tc") as program:
            program.test_run(PACKET, context)
        assert context.mark == 99

    def test_handles_outlive_the_object(self, compiled: Path) -> None:
        with ObjectFile(compiled) as one:
            one.skip_program("careless")
            one.load()
            program, hashed = one.program("on_tc_too"), one.map("hash", HashMap)
        assert program.test_run(PACKET).verdict == 2
        hashed.put(bytes(8), bytes(16))
        program.close()
        hashed.close()
        with pytest.raises(ValueError, match="closed"):
            _ = program.fd


class TestRuns:
    def test_skb(self, loaded: ObjectFile) -> None:
        with loaded.program("on_tc") as program:
            context = SkbContext(mark=5)
            outcome = program.test_run(PACKET, context)
            assert outcome.verdict == -1
            assert outcome.packet == PACKET
            assert context.mark == 42
            program.test_run(PACKET, SkbContext(mark=6), repeat=10)
        # The kernel counts the data after the Ethernet header as the skb's length at ingress.
        assert counted(loaded, 5)[7] == 1
        assert counted(loaded, 6)[7] == 1  # the mark is 42 from the second run on
        assert counted(loaded, 42)[7] == 9

    def test_xdp(self, loaded: ObjectFile, namespace: None) -> None:
        with loaded.program("on_xdp") as program:
            outcome = program.test_run(PACKET, XdpContext(ingress_ifindex=1))
        assert outcome.verdict == 2
        assert outcome.packet == struct.pack("=I", 1) + PACKET

    def test_syscall(self, loaded: ObjectFile) -> None:
        pair = loaded.btf.layout("pair")
        with (
            loaded.map("shared", ArrayMap) as shared,
            loaded.program("on_call") as program,
        ):
            shared.write(1, pair.pack(low=1, high=2))
            assert program.run_syscall(struct.pack("=Q", 21)) == (3, struct.pack("=Q", 42))
            assert shared.read(2) == shared.read(1)

    def test_a_refused_run_is_told(self, loaded: ObjectFile) -> None:
        with loaded.program("on_tc") as program, pytest.raises(LibbpfError, match="cannot run"):
            program.test_run(b"short")


class TestMaps:
    def test_array_words_are_shared_with_programs(self, loaded: ObjectFile) -> None:
        pair = loaded.btf.layout("pair")
        with loaded.map("shared", ArrayMap) as shared, loaded.map("shared", ArrayMap) as again:
            assert (len(shared), shared.stride) == (4, 16)
            shared.store32(3, pair.offset("low"), 0xDEADBEEF)
            shared.store64(3, pair.offset("high"), 1 << 63)
            assert again.load32(3, pair.offset("low")) == 0xDEADBEEF
            assert again.load64(3, pair.offset("high")) == 1 << 63
            assert pair.unpack(again.read(3)).integer("high") == 1 << 63
            with pytest.raises(IndexError):
                shared.store32(4, 0, 1)
            with pytest.raises(ValueError, match="has 16 bytes, not 3"):
                shared.write(0, b"abc")

    def test_array_of_words_written_at_once(self, loaded: ObjectFile) -> None:
        with loaded.map("words", ArrayMap) as words:
            words.write_words(3, (1, 0xFFFFFFFF, 3))
            words.write_words(0, ())
            assert [words.load32(i) for i in range(2, 7)] == [0, 1, 0xFFFFFFFF, 3, 0]
            with pytest.raises(IndexError):
                words.write_words(14, (1, 2, 3))

    def test_a_forked_child_does_not_have_them(self, loaded: ObjectFile) -> None:
        with loaded.map("words", ArrayMap):
            assert "bpf-map" in Path("/proc/self/maps").read_text()
            pid = os.fork()
            if not pid:
                os._exit("bpf-map" in Path("/proc/self/maps").read_text())
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0

    def test_a_map_not_made_for_it_cannot_be_shared(self, loaded: ObjectFile) -> None:
        with pytest.raises(DatapathError, match="unmapped was not made"):
            loaded.map("unmapped", ArrayMap)

    def test_hash(self, loaded: ObjectFile) -> None:
        with loaded.map("hash", HashMap) as hashed:
            key, value = b"k" * 8, b"v" * 16
            assert hashed.get(key) is None
            assert not hashed.delete(key)
            hashed.put(key, value)
            assert hashed.get(key) == value
            assert list(hashed.items()) == [(key, value)]
            with pytest.raises(LibbpfError) as caught:
                hashed.put(key, value, Update.CREATE)
            assert caught.value.errno == errno.EEXIST
            assert hashed.delete(key)
            with pytest.raises(ValueError, match="a key of map hash has 8 bytes, not 3"):
                hashed.get(b"abc")

    def test_hash_in_batches_up_to_its_size(self, loaded: ObjectFile) -> None:
        elements = {struct.pack("=Q", i): struct.pack("=QQ", i, i * i) for i in range(10_000)}
        with loaded.map("hash", HashMap) as hashed:
            hashed.put_many(elements)
            assert dict(hashed.items()) == elements
            with pytest.raises(LibbpfError, match="which has room for 10000 elements"):
                hashed.put(b"x" * 8, bytes(16))
            hashed.delete_many(list(elements)[::2])
            assert dict(hashed.items()) == dict(list(elements.items())[1::2])
            hashed.clear()
            assert list(hashed.items()) == []

    def test_counters_are_summed_over_all_cpus(self, loaded: ObjectFile) -> None:
        cpus = sorted(os.sched_getaffinity(0))
        with loaded.program("on_tc") as program:
            for number, cpu in enumerate(cpus, start=1):
                os.sched_setaffinity(0, {cpu})
                for _ in range(number):
                    program.test_run(PACKET, SkbContext(mark=9_999))
        os.sched_setaffinity(0, cpus)
        runs = sum(range(1, len(cpus) + 1))
        with loaded.map("counters", PerCpuArray) as counters:
            columns = counters.columns()
            assert len(columns) == counters.width == 8
            assert {len(column) for column in columns} == {10_000}
            assert columns[7][9_999] == runs
            assert columns[3][9_999] == counters.sum(9_999)[3] > 0
            assert sum(columns[7]) == runs
            assert [len(column) for column in counters.columns(10)] == [10] * 8
        assert possible_cpus() >= len(cpus)

    def test_existing_maps_are_reused(self, loaded: ObjectFile, compiled: Path) -> None:
        with loaded.map("hash", HashMap) as first, ObjectFile(compiled) as second:
            first.put(bytes(8), b"x" * 16)
            second.skip_program("careless")
            second.reuse_map("hash", first)
            second.load()
            with second.map("hash", HashMap) as same:
                assert same.info.id == first.info.id
                assert same.get(bytes(8)) == b"x" * 16

    @pytest.mark.needs("bpftool")
    def test_information_agrees_with_bpftool(self, loaded: ObjectFile) -> None:
        with loaded.map("counters", PerCpuArray) as counters:
            theirs = bpftool("map", "show", "id", str(counters.info.id))
            ours = counters.info
            assert (theirs["name"], theirs["bytes_key"], theirs["bytes_value"]) == (
                ours.name,
                ours.key_size,
                ours.value_size,
            )
            assert theirs["max_entries"] == ours.max_entries
        with loaded.program("on_xdp") as program:
            information = program.info()
            found = bpftool("prog", "show", "id", str(information.id))
            assert found["name"] == information.name
            assert found["tag"] == information.tag.hex()
            assert found["bytes_xlated"] == information.xlated_size
            assert found.get("bytes_jited", 0) == information.jited_size


def bpftool(*arguments: str) -> dict[str, object]:
    found = subprocess.run(
        [str(shutil.which("bpftool")), "-j", *arguments], check=True, capture_output=True
    )
    result: dict[str, object] = json.loads(found.stdout)
    return result


class TestPins:
    def test_programs_and_maps_are_adopted(self, loaded: ObjectFile, pins: PinDirectory) -> None:
        assert is_bpffs(pins.root)
        assert not mount()
        with loaded.program("on_tc_too") as program, loaded.map("hash", HashMap) as hashed:
            program.pin(pins.path("program"))
            hashed.pin(pins.path("hash"))
            hashed.put(bytes(8), bytes(16))
        loaded.close()
        assert pins.names() == ("hash", "program")
        with Program.from_pin(pins.path("program")) as program:
            assert program.test_run(PACKET).verdict == 2
            with pytest.raises(LibbpfError, match="cannot pin the program") as caught:
                program.pin(pins.path("program"))
            assert caught.value.errno == errno.EEXIST
        with HashMap.from_pin(pins.path("hash")) as hashed:
            assert hashed.get(bytes(8)) == bytes(16)

    def test_maps_pinned_by_the_loader(self, compiled: Path, pins: PinDirectory) -> None:
        identities = []
        for _ in range(2):
            with ObjectFile(compiled) as found:
                found.skip_program("careless")
                found.set_map_pin("hash", pins.path("hash"))
                found.load()
                with found.map("hash", HashMap) as hashed:
                    identities.append(hashed.info.id)
        assert identities[0] == identities[1]

    def test_a_missing_pin_is_told(self, pins: PinDirectory) -> None:
        with pytest.raises(LibbpfError, match="cannot open the pinned map") as caught:
            Map.from_pin(pins.path("none"))
        assert caught.value.errno == errno.ENOENT

    def test_the_directory_goes_with_its_pins_and_nothing_else(
        self, loaded: ObjectFile, pins: PinDirectory
    ) -> None:
        other = PinDirectory(pins.root.parent / f"other-{os.getpid()}")
        other.create()
        with loaded.map("hash", HashMap) as hashed:
            hashed.pin(pins.path("one"))
            hashed.pin(other.path("one"))
        assert pins.has("one")
        pins.remove()
        assert pins.names() == ()
        assert other.names() == ("one",)
        other.remove()
        assert not pins.root.parent.exists()
        pins.remove()

    def test_only_bpffs_is_touched(self, tmp_path: Path) -> None:
        plain = PinDirectory(tmp_path / "pins")
        with pytest.raises(DatapathError, match="not on a bpffs"):
            plain.create()
        (plain.root / "file").write_text("")
        with pytest.raises(DatapathError, match="not removing"):
            plain.remove()
        with pytest.raises(ValueError, match="cannot be a pin's name"):
            plain.path("a.b")

    def test_a_mount_namespace_without_bpffs_is_told(self) -> None:
        program = (
            "from penstock.kernel.bpffs import mount\n"
            "from penstock.errors import DatapathError\n"
            "try: mount()\n"
            "except DatapathError as error: print(error)\n"
        )
        cover = 'mount -t tmpfs none /sys/fs/bpf && exec "$@"'
        hidden = subprocess.run(
            ["unshare", "--mount", "sh", "-c", cover, "sh", sys.executable, "-c", program],
            check=True,
            capture_output=True,
            text=True,
        )
        assert hidden.stdout.startswith("no bpffs at /sys/fs/bpf in this mount namespace")


class TestAttachments:
    @pytest.fixture(autouse=True)
    def veth(self, namespace: None) -> None:
        ip("link", "add", "left", "type", "veth", "peer", "name", "right")

    def test_xdp_links(self, loaded: ObjectFile, pins: PinDirectory) -> None:
        index = ifindex("left")
        program, other = loaded.program("on_xdp"), loaded.program("on_xdp")
        assert query_xdp(index).any == 0
        with attach_xdp(program, index, XdpMode.NATIVE) as link:
            link.pin(pins.path("link"))
        assert query_xdp(index).native == program.info().id
        with Link.from_pin(pins.path("link")) as link:
            assert link.info().ifindex == index
            assert link.info().program_id == program.info().id
            with pytest.raises(LibbpfError, match="cannot attach the generic XDP program"):
                attach_xdp(program, index, XdpMode.GENERIC)
            link.replace(other)
            link.detach()
            link.detach()
            assert link.info().ifindex == 0
        assert query_xdp(index).any == 0

    def test_generic_xdp_where_the_driver_has_none(self, loaded: ObjectFile) -> None:
        with loaded.program("on_xdp") as program:
            with pytest.raises(LibbpfError) as caught:
                attach_xdp(program, 1, XdpMode.NATIVE)
            assert caught.value.errno == errno.EOPNOTSUPP
            with attach_xdp(program, 1, XdpMode.GENERIC):
                assert query_xdp(1).generic == program.info().id

    def test_tcx_links(self, loaded: ObjectFile) -> None:
        if not probe().tcx:
            pytest.skip("needs a kernel with tcx (6.6)")
        index = ifindex("left")
        first, second = loaded.program("on_tc"), loaded.program("on_tc_too")
        with attach_tcx(first, index) as link:
            assert query_tcx(index) == (first.info().id,)
            with attach_tcx(second, index):
                assert query_tcx(index) == (first.info().id, second.info().id)
            with loaded.program("on_tc_too") as same:
                assert query_tcx(index) == (first.info().id,)
                link.replace(same)
                assert query_tcx(index) == (same.info().id,)
            ip("link", "delete", "left")
            with pytest.raises(LibbpfError) as caught:
                link.replace(first)
            assert caught.value.errno == errno.ENOLINK
            link.detach()
        assert query_tcx(1) == ()

    def test_clsact_filters(self, loaded: ObjectFile) -> None:
        index = ifindex("left")
        first, second = loaded.program("on_tc"), loaded.program("on_tc_too")
        ours = ClsactFilter(index)
        assert ours.program_id() is None
        ours.detach()
        ours.replace(first)
        assert ClsactFilter(index).program_id() == first.info().id
        ClsactFilter(index).replace(second)
        assert ours.program_id() == second.info().id
        ours.detach()
        ours.detach()
        assert ours.program_id() is None
        ip("link", "delete", "left")
        assert ours.program_id() is None
        ours.detach()


class TestNetlink:
    @pytest.fixture(autouse=True)
    def own(self, namespace: None) -> None:
        pass

    def test_interfaces(self) -> None:
        ip("link", "add", "bridge0", "type", "bridge")
        ip("link", "add", "left", "mtu", "1400", "type", "veth", "peer", "name", "right")
        ip("link", "set", "left", "master", "bridge0", "up")
        found = {one.name: one for one in netlink.interfaces()}
        assert set(found) >= {"lo", "left", "right", "bridge0"}
        left = found["left"]
        assert (left.kind, left.mtu, left.up, left.type) == ("veth", 1400, True, 1)
        assert left.master == found["bridge0"].index
        assert left.parent == found["right"].index
        assert len(left.mac) == 6
        assert found["lo"].loopback
        assert netlink.driver("left") == "veth"
        assert netlink.driver("none") is None

    def test_addresses_and_routes(self) -> None:
        ip("link", "add", "left", "up", "type", "veth", "peer", "name", "right")
        ip("link", "set", "right", "up")
        ip("address", "add", "10.9.0.1/24", "dev", "left")
        ip("address", "add", "fd09::1/64", "dev", "left", "nodad")
        ip("route", "add", "10.10.0.0/16", "via", "10.9.0.254", "mtu", "1300", "src", "10.9.0.1")
        ip("route", "add", "fd10::/16", "via", "fd09::254")
        ip("route", "add", "unreachable", "10.11.0.0/16")
        ip("route", "add", "10.12.0.0/16", "via", "inet6", "fd09::254", "dev", "left")
        index = ifindex("left")
        found = {one.address: one for one in netlink.addresses()}
        assert found[ip_address("10.9.0.1")].prefix == 24
        assert found[ip_address("10.9.0.1")].scope == netlink.Scope.GLOBAL
        assert found[ip_address("127.0.0.1")].scope == netlink.Scope.HOST
        assert found[ip_address("fd09::1")].usable
        route = netlink.route_to(ip_address("10.10.3.4"))
        assert route is not None
        assert (route.ifindex, route.gateway) == (index, ip_address("10.9.0.254"))
        assert (route.source, route.mtu) == (ip_address("10.9.0.1"), 1300)
        route = netlink.route_to(ip_address("10.9.0.7"))
        assert route is not None
        assert (route.gateway, route.type) == (None, netlink.RouteType.UNICAST)
        route = netlink.route_to(ip_address("fd10::5"))
        assert route is not None
        assert (route.gateway, route.source) == (ip_address("fd09::254"), ip_address("fd09::1"))
        route = netlink.route_to(ip_address("10.12.0.1"))
        assert route is not None
        assert route.gateway == ip_address("fd09::254")
        assert netlink.route_to(ip_address("10.11.0.1")) is None
        assert netlink.route_to(ip_address("192.0.2.1")) is None
        assert netlink.route_to(ip_address("2001:db8::1")) is None

    def test_changes_are_told_as_they_happen(self) -> None:
        monitor = netlink.Monitor()
        try:
            assert monitor.read() == []
            ip("link", "add", "left", "up", "type", "veth", "peer", "name", "right")
            ip("address", "add", "10.9.0.1/24", "dev", "left")
            ip("neighbour", "add", "10.9.0.9", "lladdr", "02:00:00:00:00:09", "dev", "left")
            index = ifindex("left")
            events = monitor.read()
            assert {e.interface.name for e in events if isinstance(e, netlink.LinkChanged)} == {
                "left",
                "right",
            }
            (added,) = [e for e in events if isinstance(e, netlink.AddressAdded)]
            assert (added.address.address, added.address.ifindex) == (ip_address("10.9.0.1"), index)
            assert netlink.RouteChanged() in events
            neighbour = netlink.NeighbourChanged(index, ip_address("10.9.0.9"), b"\2\0\0\0\0\x09")
            assert neighbour in events
            ip("link", "delete", "left")
            events = monitor.read()
            assert netlink.LinkRemoved(index, "left") in events
            assert any(isinstance(e, netlink.AddressRemoved) for e in events)
        finally:
            monitor.close()

    def test_settings_of_the_namespace(self) -> None:
        sysctls = sysctl.Sysctls()
        name = "net/ipv4/conf/lo/route_localnet"
        assert sysctl.read(name) == "0"
        sysctls.set(name, "1")
        assert sysctl.read(name) == "1"
        sysctls.restore()
        assert sysctl.read(name) == "0"
        assert len(sysctl.read_ports("net/ipv4/ip_local_port_range")) == 1
        with pytest.raises(DatapathError, match=r"cannot set net\.ipv4\.conf\.lo\.forwarding"):
            sysctls.set("net/ipv4/conf/lo/forwarding", "many")


def test_probe() -> None:
    found = probe()
    assert found.kernel >= (5, 15)
