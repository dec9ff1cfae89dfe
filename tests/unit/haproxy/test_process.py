# SPDX-License-Identifier: Apache-2.0
"""`penstock haproxy` as its users start it: real processes, signals, files and sockets."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from unit_ports import closed_port

from penstock.haproxy.arguments import parse
from penstock.instance.runtime import RuntimePaths

_PATIENCE = 30.0  # seconds, on a busy machine

CONFIG = """global
 stats socket {folder}/stats.sock level admin expose-fd listeners
 nbthread 1
{more}
defaults
 mode tcp
 timeout client 30s
 timeout connect 5s
 timeout server 30s
listen l
 bind 127.0.0.1:{port}
 option proxy-engine
 server s 127.0.0.1:{server}
{sections}
"""


class Echo(threading.Thread):
    """A server that sends back what comes, on a port of its own."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port = int(self._listener.getsockname()[1])
        self.start()

    def run(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            while data := connection.recv(4096):
                connection.sendall(data)

    def close(self) -> None:
        self._listener.close()


class Rig:
    """A folder with a configuration, and processes that are ended with the test."""

    def __init__(self, folder: Path, server: int) -> None:
        self.folder = folder
        self.port = closed_port()
        self.server = server
        self.file = folder / "haproxy.cfg"
        self.pidfile = folder / "pid"
        self.log = folder / "log"
        self._processes: list[subprocess.Popen[bytes]] = []
        self.environ = {
            **{name: value for name, value in os.environ.items() if name[:6] != "PYTHON"},
            "PYTHONPATH": str(Path(__file__).parents[3] / "src"),
        }
        self.write()

    def write(self, more: str = "", sections: str = "") -> None:
        text = CONFIG.format(
            folder=self.folder, port=self.port, server=self.server, more=more, sections=sections
        )
        self.file.write_text(text)

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "penstock", "haproxy", *words]

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*words),
            check=False,
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
        )

    def start(
        self, *words: str, program: Path | None = None, **environ: str
    ) -> subprocess.Popen[bytes]:
        """*program*: a script in penstock's place."""
        command = self.command(*words) if program is None else [str(program), *words]
        with self.log.open("ab") as log:
            process = subprocess.Popen(command, env={**self.environ, **environ}, stderr=log)
        self._processes.append(process)
        return process

    def daemon(self, *words: str) -> int:
        """Started in the background; its process id."""
        done = self.run("-D", "-p", str(self.pidfile), "-f", str(self.file), *words)
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        return int(self.pidfile.read_text())

    def echoes(self) -> bool:
        """Whether a connection gets through to the server and back."""
        try:
            client = socket.create_connection(("127.0.0.1", self.port), 5)
        except OSError:
            return False
        with client, contextlib.suppress(OSError):
            client.sendall(b"hello")
            return client.recv(5) == b"hello"
        return False

    def said(self) -> str:
        return self.log.read_text() if self.log.exists() else ""

    def close(self) -> None:
        if self.pidfile.exists():
            with contextlib.suppress(ProcessLookupError, ValueError):
                os.kill(int(self.pidfile.read_text()), signal.SIGTERM)
        for process in self._processes:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


def eventually(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def lives(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"  # nobody here waits for those that were started in the background


def ask(path: Path, text: str) -> str:
    with socket.socket(socket.AF_UNIX) as link:
        link.settimeout(_PATIENCE)
        link.connect(str(path))
        link.sendall(text.encode())
        said = b""
        while data := link.recv(65536):
            said += data
    return said.decode()


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    server = Echo()
    rig = Rig(tmp_path, server.port)
    try:
        yield rig
    finally:
        rig.close()
        server.close()


# -- what ends at once ---------------------------------------------------------------------------


def test_the_version_is_where_tools_look_for_it(rig: Rig) -> None:
    words = rig.run("-v").stdout.split()
    assert words[:2] == ["HAProxy", "version"]
    assert words[2].startswith("2.6.12-penstock")
    build = rig.run("-vv").stdout
    features = next(line for line in build.splitlines() if line.startswith("Feature list : "))
    assert "+OPENSSL" in features.split()
    assert "-LUA" in features.split()
    assert "  TARGET  = linux-glibc\n" in build


@pytest.mark.parametrize(("condition", "status"), [("1", 0), ("0", 1), ("nonsense", 2)])
def test_a_condition_is_the_exit_status(rig: Rig, condition: str, status: int) -> None:
    assert rig.run("-cc", condition).returncode == status


def test_wrong_use(rig: Rig) -> None:
    for words in (("-z", "x"), (), ("-c",)):
        done = rig.run(*words)
        assert done.returncode == 1
        assert "Usage : haproxy [-f <cfgfile|cfgdir>]*" in done.stderr


def test_checking_says_what_haproxy_says(rig: Rig) -> None:
    file = str(rig.file)
    done = rig.run("-c", "-f", file)
    assert (done.returncode, done.stdout, done.stderr) == (0, "Configuration file is valid\n", "")
    assert rig.run("-c", "-q", "-f", file).stdout == ""
    rig.write(sections=" balanc roundrobin")
    done = rig.run("-c", "-f", file)
    assert done.returncode == 1
    lines = [line.partition(" : ")[2] for line in done.stderr.splitlines()]
    assert lines[0].startswith("haproxy version is 2.6.12-penstock")
    assert lines[2].endswith("did you mean 'balance' maybe ?")
    assert lines[3:] == [
        f"config : Error(s) found in configuration file : {file}",
        "config : Fatal errors found in configuration.",
    ]
    assert all(
        line.startswith(("[NOTICE]   (", "[ALERT]    (")) for line in done.stderr.splitlines()
    )


def test_warnings_count_with_dw(rig: Rig) -> None:
    rig.write(sections="backend b\n server s 127.0.0.1:1\n option httplog")
    assert "Warnings were found." in rig.run("-c", "-f", str(rig.file)).stdout
    assert rig.run("-c", "-dW", "-f", str(rig.file)).returncode == 1


def test_names_that_do_not_resolve_are_let_pass_with_dr(rig: Rig) -> None:
    rig.write(sections="backend b\n server s no-such-host.invalid:1")
    assert rig.run("-c", "-f", str(rig.file)).returncode == 1
    assert rig.run("-c", "-dr", "-f", str(rig.file)).returncode == 0


def test_files_are_found_from_the_directory_that_is_named(rig: Rig) -> None:
    assert rig.run("-C", str(rig.folder), "-c", "-f", "haproxy.cfg").returncode == 0
    assert rig.run("-C", "/nonexistent", "-c", "-f", "haproxy.cfg").returncode == 1


# -- one process ---------------------------------------------------------------------------------


def test_in_the_background_it_serves_before_the_prompt_is_back(rig: Rig) -> None:
    pid = rig.daemon()
    assert lives(pid)
    assert rig.echoes()
    os.kill(pid, signal.SIGTERM)
    eventually(lambda: not lives(pid))
    assert not rig.echoes()
    eventually(lambda: not RuntimePaths.of(rig.environ).of_process(pid).directory.exists())


def test_what_cannot_be_listened_on_ends_it_before_it_is_in_the_background(rig: Rig) -> None:
    with socket.create_server(("127.0.0.1", rig.port)):
        done = rig.run("-D", "-f", str(rig.file))
    assert done.returncode == 1
    assert "Address already in use" in done.stderr


@pytest.mark.parametrize("more", [(), ("-W",)])
def test_a_pid_file_that_cannot_be_made_ends_it_before_it_starts(
    rig: Rig, more: tuple[str, ...]
) -> None:
    path = rig.folder / "nowhere" / "pid"
    done = rig.run("-D", *more, "-p", str(path), "-f", str(rig.file))
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith(
        f" : [haproxy.main()] Cannot create pidfile {path}"
    )
    assert not rig.echoes()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_it_as_they_end_haproxy(rig: Rig, number: signal.Signals) -> None:
    process = rig.start("-db", "-f", str(rig.file))
    eventually(rig.echoes)
    process.send_signal(number)
    assert process.wait(_PATIENCE) == -number


def test_a_soft_stop_waits_for_the_last_session(rig: Rig) -> None:
    process = rig.start("-db", "-f", str(rig.file))
    eventually(rig.echoes)
    with socket.create_connection(("127.0.0.1", rig.port), 5) as client:
        client.sendall(b"a")
        assert client.recv(1) == b"a"
        process.send_signal(signal.SIGUSR1)
        eventually(lambda: not rig.echoes())
        client.sendall(b"b")
        assert client.recv(1) == b"b"
        assert process.poll() is None
    assert process.wait(_PATIENCE) == 0
    assert "Proxy l stopped (cumulated conns: FE: " in rig.said()


def test_a_soft_stop_takes_no_longer_than_hard_stop_after(rig: Rig) -> None:
    rig.write(more=" hard-stop-after 200ms")
    process = rig.start("-db", "-f", str(rig.file))
    eventually(rig.echoes)
    with socket.create_connection(("127.0.0.1", rig.port), 5) as client:
        client.sendall(b"a")
        assert client.recv(1) == b"a"
        process.send_signal(signal.SIGUSR1)
        assert process.wait(_PATIENCE) == 0


class Load(threading.Thread):
    """Connections one after the other until it is told to stop; counts those that fail."""

    def __init__(self, rig: Rig) -> None:
        super().__init__()
        self._rig = rig
        self._over = threading.Event()
        self.made = self.failed = 0
        self.start()

    def run(self) -> None:
        while not self._over.is_set():
            self.made += 1
            self.failed += not self._rig.echoes()

    def stop(self) -> None:
        self._over.set()
        self.join()


@pytest.mark.parametrize("path", [False, True])
def test_the_next_process_takes_over_without_a_lost_connection(rig: Rig, path: bool) -> None:
    pid = rig.daemon()
    load = Load(rig)
    try:
        for _ in range(2):
            eventually(lambda seen=load.made: load.made > seen + 20)
            extra = ("-x", str(rig.folder / "stats.sock")) if path else ()
            before, pid = pid, rig.daemon(*extra, "-sf", str(pid))
            eventually(lambda gone=before: not lives(gone))
    finally:
        load.stop()
    assert load.failed == 0
    assert load.made > 40


def test_a_process_that_is_terminated_by_the_next_one(rig: Rig) -> None:
    before = rig.daemon()
    with socket.create_connection(("127.0.0.1", rig.port), 5) as client:
        client.sendall(b"a")
        assert client.recv(1) == b"a"
        rig.daemon("-st", str(before))
        eventually(lambda: not lives(before))
    assert rig.echoes()


def test_a_path_that_leads_nowhere_is_refused(rig: Rig) -> None:
    done = rig.run("-D", "-f", str(rig.file), "-x", str(rig.folder / "nothing"))
    assert done.returncode == 1
    assert "Failed to get the sockets from the old process" in done.stderr


# -- a master ------------------------------------------------------------------------------------


def master(rig: Rig, *words: str, program: Path | None = None) -> subprocess.Popen[bytes]:
    socket_ = f"{rig.folder}/master.sock"
    process = rig.start(
        *("-W", "-S", socket_, "-p", str(rig.pidfile), "-f", str(rig.file), *words),
        program=program,
    )
    eventually(lambda: "Loading success." in rig.said())
    eventually(lambda: answers(rig))
    return process


def answers(rig: Rig) -> bool:
    with contextlib.suppress(OSError):
        return ask(rig.folder / "master.sock", "show version\n") != ""
    return False


def worker_pid(rig: Rig) -> int:
    lines = ask(rig.folder / "master.sock", "show proc\n").splitlines()
    return int(lines[lines.index("# workers") + 1].split()[0])


def test_a_reload_loses_no_connection_and_keeps_the_master(rig: Rig) -> None:
    process = master(rig)
    assert int(rig.pidfile.read_text()) == process.pid
    first = worker_pid(rig)
    load = Load(rig)
    try:
        eventually(lambda: load.made > 20)
        process.send_signal(signal.SIGUSR2)
        eventually(lambda: f"Former worker ({first}) exited with code 0 (Exit)" in rig.said())
        eventually(lambda: answers(rig) and worker_pid(rig) != first)
    finally:
        load.stop()
    assert load.failed == 0
    assert process.poll() is None
    table = ask(rig.folder / "master.sock", "show proc\n")
    assert "1 [failed: 0]" in table
    process.send_signal(signal.SIGTERM)
    assert process.wait(_PATIENCE) == 0
    assert "All workers exited. Exiting... (0)" in rig.said()


def test_a_table_goes_from_one_worker_to_the_next(rig: Rig) -> None:
    """Where its peers section names this node, as HAProxy's does."""
    rig.write(
        sections=" stick-table type ip size 1k expire 1h peers ps store conn_cnt\n"
        " tcp-request connection track-sc0 src\n"
        f"peers ps\n peer me 127.0.0.1:{closed_port()}\n"
    )
    process = master(rig, "-L", "me")
    first = worker_pid(rig)
    assert rig.echoes()
    eventually(lambda: "conn_cnt=1" in ask(rig.folder / "stats.sock", "show table l\n"))
    process.send_signal(signal.SIGUSR2)
    eventually(lambda: f"Former worker ({first}) exited with code 0 (Exit)" in rig.said())
    eventually(lambda: "conn_cnt=1" in ask(rig.folder / "stats.sock", "show table l\n"))
    process.send_signal(signal.SIGTERM)
    assert process.wait(_PATIENCE) == 0


def test_a_reload_that_fails_leaves_everything_as_it_is(rig: Rig) -> None:
    process = master(rig)
    first = worker_pid(rig)
    rig.write(sections=" balanc x")
    ask(rig.folder / "master.sock", "reload\n")
    eventually(lambda: "Loading failure!" in rig.said() and answers(rig))
    assert worker_pid(rig) == first
    assert "1 [failed: 1]" in ask(rig.folder / "master.sock", "show proc\n")
    assert rig.echoes()
    process.send_signal(signal.SIGINT)
    assert process.wait(_PATIENCE) == 130


def test_a_program_that_is_gone_at_a_reload_leaves_everything_as_it_is(rig: Rig) -> None:
    """As while a package is being replaced."""
    program = rig.folder / "haproxy"
    program.write_text(
        f"#!{sys.executable}\nimport sys\nfrom penstock.__main__ import main\nsys.exit(main())\n"
    )
    program.chmod(0o755)
    process = master(rig, program=program)
    first = worker_pid(rig)
    program.unlink()
    process.send_signal(signal.SIGUSR2)
    eventually(lambda: "Failed to reexecute the master process" in rig.said())
    assert worker_pid(rig) == first
    assert rig.echoes()
    process.send_signal(signal.SIGTERM)
    assert process.wait(_PATIENCE) == 0


def test_a_client_that_hangs_up_meanwhile_is_forgotten(rig: Rig) -> None:
    process = master(rig)
    for text in ("@1 show stat\n" * 500, "show proc\n", "@1 help"):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(rig.folder / "master.sock"))
            client.sendall(text.encode())
    assert ask(rig.folder / "master.sock", "show version\n") != ""
    process.send_signal(signal.SIGTERM)
    assert process.wait(_PATIENCE) == 0


def test_the_master_passes_commands_on(rig: Rig) -> None:
    process = master(rig)
    assert ask(rig.folder / "master.sock", "@1 show cli level\n") == "admin\n\n"
    assert ask(rig.folder / "master.sock", "@1 show cli level; show cli level\n") == (
        "admin\n\nadmin\n\n"
    )
    assert ask(rig.folder / "master.sock", "operator; @1 show cli level\n") == ("\noperator\n\n")
    process.send_signal(signal.SIGUSR1)
    assert process.wait(_PATIENCE) == 0


def test_programs_run_beside_the_worker(rig: Rig) -> None:
    rig.write(sections="program p\n command sleep 1000")
    process = master(rig)
    assert " forked" in rig.said()
    lines = ask(rig.folder / "master.sock", "show proc\n").splitlines()
    program = int(lines[lines.index("# programs") + 1].split()[0])
    assert lives(program)
    process.send_signal(signal.SIGTERM)
    process.wait(_PATIENCE)
    assert not lives(program)


def test_a_worker_that_fails_takes_the_rest_along(rig: Rig) -> None:
    process = master(rig)
    os.kill(worker_pid(rig), signal.SIGKILL)
    assert process.wait(_PATIENCE) == 137
    assert "exit-on-failure: killing every processes with SIGTERM" in rig.said()


def test_systemd_is_told(rig: Rig) -> None:
    path = rig.folder / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(path))
        manager.settimeout(_PATIENCE)
        process = rig.start("-Ws", "-f", str(rig.file), NOTIFY_SOCKET=str(path))
        said = manager.recv(4096).decode().splitlines()
        assert "READY=1" in said
        assert f"MAINPID={process.pid}" in said
        process.send_signal(signal.SIGUSR2)
        assert "RELOADING=1" in manager.recv(4096).decode().splitlines()
        assert "READY=1" in manager.recv(4096).decode().splitlines()
        process.send_signal(signal.SIGTERM)
        assert manager.recv(4096) == b"STOPPING=1"
        assert process.wait(_PATIENCE) == 0


# -- what is given along ---------------------------------------------------------------------------


def test_the_unit_starts_checks_and_reloads_with_haproxys_options() -> None:
    text = (Path(__file__).parents[3] / "contrib/haproxy.service").read_text()
    said = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    assert said["Type"] == "notify"
    environ = {"CONFIG": "a.cfg", "PIDFILE": "p", "EXTRAOPTS": "-S m"}
    for line in text.splitlines():
        if line.startswith(("ExecStart=", "ExecReload=/usr")):
            words = line.partition("=")[2].split()
            for name, value in environ.items():
                words = [part for word in words for part in word.replace(f"${name}", value).split()]
            arguments = parse(words[1:])
            assert arguments.notify
            assert arguments.files == ("a.cfg",)
            assert arguments.master_sockets == ("m",)


def test_what_killed_processes_leave_is_removed_by_the_next_one(rig: Rig) -> None:
    first = rig.start("-db", "-f", str(rig.file))
    eventually(rig.echoes)
    place = RuntimePaths.of(rig.environ).of_process(first.pid).directory
    assert place.exists()
    first.kill()
    first.wait()
    rig.daemon()
    assert not place.exists()


_CERTIFICATES = Path(__file__).parents[1] / "engine" / "certificates"
_TLS = """listen secure
 bind 127.0.0.1:{port} ssl crt {file}
 server s 127.0.0.1:{server}
listen pages
 mode http
 bind 127.0.0.1:{pages} ssl crt {file}
 stats enable
"""


def shakes_hands(port: int) -> ssl.SSLSocket:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context.wrap_socket(socket.create_connection(("127.0.0.1", port), _PATIENCE))


def test_a_certificate_is_renewed_beside_connections(rig: Rig) -> None:
    """As deploy hooks of ACME clients do it: by three commands."""
    file, ports = rig.folder / "site.pem", (closed_port(), closed_port())
    file.write_bytes((_CERTIFICATES / "default.pem").read_bytes())
    fresh = (_CERTIFICATES / "one.pem").read_text()
    tls = _TLS.format(port=ports[0], pages=ports[1], file=file, server=rig.server)
    rig.write(sections=tls)
    rig.start("-db", "-f", str(rig.file))
    eventually(rig.echoes)
    with shakes_hands(ports[0]) as before:
        shown = before.getpeercert(binary_form=True)
        stats = rig.folder / "stats.sock"
        assert str(file) in ask(stats, "show ssl cert\n")
        assert "created" in ask(stats, f"set ssl cert {file} <<\n{fresh}\n")
        assert "Success!" in ask(stats, f"commit ssl cert {file}\n")
        for port in ports:
            with shakes_hands(port) as after:
                assert after.getpeercert(binary_form=True) == ssl.PEM_cert_to_DER_cert(
                    fresh[: fresh.index("-----BEGIN EC")]
                )
        before.sendall(b"still there")
        assert before.recv(64) == b"still there"
        assert before.getpeercert(binary_form=True) == shown
