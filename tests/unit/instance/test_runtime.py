# SPDX-License-Identifier: Apache-2.0
"""Where an instance lives, and that there is one in each place."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from penstock.errors import InstanceRunning, PenstockError
from penstock.instance import runtime
from penstock.instance.runtime import InstanceLock, RuntimePaths


def initial(environ: Mapping[str, str]) -> RuntimePaths:
    return RuntimePaths.of(environ, foreign=lambda: None)


def foreign(environ: Mapping[str, str]) -> RuntimePaths:
    return RuntimePaths.of(environ, foreign=lambda: 77)


@pytest.fixture
def paths(tmp_path: Path) -> RuntimePaths:
    one = RuntimePaths(tmp_path / "run", tmp_path / "pins")
    one.create()
    return one


def test_everything_of_an_instance_is_in_its_directory(paths: RuntimePaths) -> None:
    for path in (paths.socket, paths.lock, paths.overrides):
        assert path.parent == paths.directory


def test_the_directory_is_private(paths: RuntimePaths) -> None:
    assert stat.S_IMODE(paths.directory.stat().st_mode) == 0o700
    paths.create()  # again


def test_a_second_instance_is_told_of_the_first(paths: RuntimePaths) -> None:
    first = InstanceLock(paths)
    with pytest.raises(InstanceRunning) as caught:
        InstanceLock(paths)
    assert str(caught.value) == (
        f"penstock (pid {os.getpid()}) is already running with runtime directory "
        f"{paths.directory}; set PENSTOCK_RUNTIME_DIR for a second instance"
    )
    first.close()
    InstanceLock(paths).close()


def test_one_that_yields_says_so_to_the_second(paths: RuntimePaths) -> None:
    first = InstanceLock(paths, yields=True)
    with pytest.raises(InstanceRunning, match=rf"^penstock \(pid {os.getpid()}\) is ") as caught:
        InstanceLock(paths)
    assert caught.value.yields == os.getpid()
    first.close()
    second = InstanceLock(paths)
    with pytest.raises(InstanceRunning) as caught:
        InstanceLock(paths)
    assert caught.value.yields == 0
    second.close()


def test_the_lock_of_a_killed_instance_is_free(paths: RuntimePaths) -> None:
    script = (
        "import sys, pathlib\n"
        "from penstock.instance.runtime import InstanceLock, RuntimePaths\n"
        "lock = InstanceLock(RuntimePaths(pathlib.Path(sys.argv[1]), pathlib.Path('/x')))\n"
        "print('locked', flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, paths.directory],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"locked\n"
        with pytest.raises(InstanceRunning, match=rf"\(pid {other.pid}\)"):
            InstanceLock(paths)
        other.kill()
        other.wait()
        InstanceLock(paths).close()


def test_a_process_killed_while_it_began_to_listen_leaves_nothing(paths: RuntimePaths) -> None:
    """Its socket still has the name that it has before it listens."""
    killed = paths.of_process(4711)
    killed.create()
    killed.lock.touch()
    killed.succession.with_name(f"{killed.succession.name}.4711.tmp").touch()
    paths.remove_deserted()
    assert not killed.directory.exists()


@pytest.mark.parametrize("stranger", [False, True])
def test_removal_takes_what_is_ours(paths: RuntimePaths, stranger: bool) -> None:
    lock = InstanceLock(paths)
    for path in (paths.log, paths.overrides, paths.rules):
        path.touch()
    if stranger:
        (paths.directory / "notes").touch()
    paths.remove()
    with pytest.raises(InstanceRunning):
        InstanceLock(paths)
    lock.close()
    if stranger:
        assert {path.name for path in paths.directory.iterdir()} == {"lock", "notes"}
    else:
        assert not paths.directory.exists()


def test_who_opens_the_lock_as_its_holder_ends_has_the_next_one(
    paths: RuntimePaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or two would hold one each: the file that is gone, and the one made after it."""
    ending = [InstanceLock(paths)]
    opens = RuntimePaths.open

    def opens_and_waits(self: RuntimePaths, path: Path) -> int:
        descriptor = opens(self, path)
        if ending:
            ending.pop().close()
            assert not paths.directory.exists()
        return descriptor

    monkeypatch.setattr(RuntimePaths, "open", opens_and_waits)
    lock = InstanceLock(paths)
    with pytest.raises(InstanceRunning):
        InstanceLock(paths)
    lock.close()


def test_a_directory_that_goes_meanwhile_is_made_again(
    paths: RuntimePaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    makes, ending = RuntimePaths.create, [InstanceLock(paths)]

    def makes_and_waits(self: RuntimePaths) -> None:
        makes(self)
        if ending:
            ending.pop().close()

    monkeypatch.setattr(RuntimePaths, "create", makes_and_waits)
    InstanceLock(paths).close()


def test_a_file_that_cannot_be_made_is_one_sentence(paths: RuntimePaths) -> None:
    paths.log.symlink_to(paths.directory / "nothing" / "log")
    with pytest.raises(PenstockError, match=r"^cannot open .*/run/log: No such file or directory$"):
        paths.open(paths.log)


def test_two_directories_are_two_instances(tmp_path: Path) -> None:
    both = [RuntimePaths.of({"PENSTOCK_RUNTIME_DIR": str(tmp_path / n)}) for n in ("a", "b")]
    for one in both:
        one.create()
    locks = [InstanceLock(one) for one in both]
    assert both[0].pins != both[1].pins
    for lock in locks:
        lock.close()


def test_the_environment_decides() -> None:
    one = RuntimePaths.of({"PENSTOCK_RUNTIME_DIR": "/run/blue", "PENSTOCK_PIN_PATH": "/bpf/blue"})
    assert (one.directory, one.pins) == (Path("/run/blue"), Path("/bpf/blue"))
    assert RuntimePaths.of({}, Path("/bpf/x")).pins == Path("/bpf/x")
    assert RuntimePaths.of({"PENSTOCK_PIN_PATH": "/a"}, Path("/b")).pins == Path("/b")


def test_a_relative_directory_is_the_same_one_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    here = RuntimePaths.of({"PENSTOCK_RUNTIME_DIR": "run"})
    assert here == RuntimePaths.of({"PENSTOCK_RUNTIME_DIR": str(tmp_path / "run")})


def test_users_have_their_own_default(monkeypatch: pytest.MonkeyPatch) -> None:
    environ = {"XDG_RUNTIME_DIR": "/run/user/1000"}
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert initial(environ).directory == Path("/run/user/1000/penstock")
    assert foreign(environ).directory == Path("/run/user/1000/penstock-net-77")
    assert initial({}).directory.name == "penstock-1000"
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert initial(environ).directory == Path("/run/penstock")
    assert initial(environ).pins == Path("/sys/fs/bpf/penstock")


def test_each_network_namespace_has_an_instance_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert foreign({}) == RuntimePaths(
        Path("/run/penstock-net-77"), Path("/sys/fs/bpf/penstock-net-77")
    )
    told = {"PENSTOCK_RUNTIME_DIR": "/run/blue"}
    assert foreign(told) == initial(told)
    # The name of the directory gives its pins theirs, wherever one is told to use it.
    assert initial({"PENSTOCK_RUNTIME_DIR": "/run/penstock-net-77"}) == foreign({})
    assert initial({"PENSTOCK_RUNTIME_DIR": "/tmp/penstock"}).pins != initial({}).pins  # noqa: S108


def test_a_namespace_of_ones_own_is_foreign() -> None:
    script = "from penstock.instance.runtime import foreign_namespace; print(foreign_namespace())"
    cookies = []
    for _ in range(2):
        shown = subprocess.run(
            ["unshare", "--map-root-user", "--net", sys.executable, "-c", script],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        if shown.returncode:
            pytest.skip(f"no namespaces here: {shown.stderr.strip()}")
        cookies.append(shown.stdout.strip())
    assert all(cookie.isdecimal() for cookie in cookies), cookies
    assert cookies[0] != cookies[1]


def test_a_directory_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    one = RuntimePaths(tmp_path / "file" / "run", tmp_path)
    for make in (one.create, lambda: InstanceLock(one)):
        with pytest.raises(
            PenstockError, match=r"cannot make the runtime directory .*: Not a directory"
        ):
            make()


@pytest.mark.parametrize(
    ("user", "environ", "where"),
    [
        (0, {"XDG_RUNTIME_DIR": "/run/user/0"}, "/run/penstock"),
        (7, {"XDG_RUNTIME_DIR": "/run/user/7"}, "/run/user/7/penstock"),
        (7, {}, f"{runtime._SHARED}/penstock-7"),
        (7, {"XDG_RUNTIME_DIR": ""}, f"{runtime._SHARED}/penstock-7"),
    ],
)
def test_a_user_has_a_directory_of_their_own(
    monkeypatch: pytest.MonkeyPatch, user: int, environ: Mapping[str, str], where: str
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: user)
    assert str(initial(environ).directory) == where
    assert str(foreign(environ).directory) == f"{where}-net-77"


def test_what_somebody_else_has_put_there_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime, "_SHARED", tmp_path)
    one = RuntimePaths(tmp_path / "penstock-7", tmp_path / "pins")
    one.create()
    one.create()
    one.directory.chmod(0o755)
    with pytest.raises(PenstockError, match="is not a directory that is yours alone"):
        one.create()
    one.directory.chmod(0o700)
    monkeypatch.setattr(os, "geteuid", lambda: 7)
    if one.directory.stat().st_uid != os.geteuid():
        with pytest.raises(PenstockError, match="is not a directory that is yours alone"):
            one.create()
    monkeypatch.undo()
    other = RuntimePaths(tmp_path / "penstock-8", tmp_path / "pins")
    other.directory.symlink_to(one.directory)
    monkeypatch.setattr(runtime, "_SHARED", tmp_path)
    with pytest.raises(PenstockError, match="is not a directory that is yours alone"):
        other.create()
