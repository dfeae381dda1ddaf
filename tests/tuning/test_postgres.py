"""A study on a real PostgreSQL server, of the machine's own packages: two processes share it, and it may go away."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

import warm
from netwright.tuning import storage
from tuning_fakes import Fake, finish, study

PLACES = [Path("/usr/lib/postgresql") / version / "bin" for version in ("17", "16", "15", "14")]


def _binary(name: str) -> str | None:
    found = next((str(folder / name) for folder in PLACES if (folder / name).exists()), None)
    return found or shutil.which(name)


class Server:
    """One server in a folder of its own, which can be stopped and started again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "data"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.as_user: list[str] = []
        import os

        if os.geteuid() == 0:  # the server refuses to run as root
            shutil.chown(folder, "postgres")
            folder.chmod(0o755)
            self.as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
        self._run("initdb", "-D", str(self.folder), "-U", "tuner", "--auth=trust", "--no-sync")
        self.start()

    def start(self) -> None:
        options = f"-p {self.port} -k {self.folder} -h 127.0.0.1 -c fsync=off"
        self._run("pg_ctl", "-D", str(self.folder), "-w", "-l", str(self.folder / "log"), "-o", options, "start")

    def stop(self) -> None:
        self._run("pg_ctl", "-D", str(self.folder), "-w", "-m", "immediate", "stop")

    def _run(self, name: str, *arguments: str) -> None:
        done = subprocess.run(
            [*self.as_user, str(_binary(name)), *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            text=True, timeout=120, check=False, cwd="/",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr

    @property
    def url(self) -> str:
        return storage.normalised(f"postgresql://tuner@127.0.0.1:{self.port}/postgres")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    if _binary("initdb") is None or _binary("pg_ctl") is None:
        pytest.skip("no PostgreSQL server is installed here")
    folder = Path(tempfile.mkdtemp(prefix="netwright-postgres-"))
    try:
        made = Server(folder)
    except (AssertionError, LookupError, FileNotFoundError) as error:
        shutil.rmtree(folder, ignore_errors=True)
        pytest.skip(f"the PostgreSQL server of this machine does not start: {error}")
    yield made
    made.stop()
    shutil.rmtree(folder, ignore_errors=True)


def test_several_processes_share_a_study_on_a_server_that_goes_away(server: Server, tmp_path: Path) -> None:
    code = f"""
        import sys
        sys.path.insert(0, {str(Path(__file__).parent.parent)!r})
        from pathlib import Path
        from tuning_fakes import Fake, finish, study
        one = study(Path({str(tmp_path)!r}), worker=1, trials=12, url={server.url!r})
        run = Fake(one.space, epochs=3)
        finish(one, run)
        print(len(run.trained))
    """
    one = study(tmp_path, trials=12, url=server.url)
    one.storage._patience = 60.0
    said: list[str] = []
    one.storage._said = said.append
    run = Fake(one.space, epochs=3)
    one.step(run)

    def outage(recipe, number, told):  # type: ignore[no-untyped-def]
        outcome = run(recipe, number, told)
        server.stop()
        server.start()
        return outcome

    one.step(outage)
    states = [each.state for each in one.trials()]
    assert len(states) == 2
    assert set(states) <= {"finished", "stopped"}
    other = warm.Running(["-c", textwrap.dedent(code)], tmp_path)
    finish(one, run)
    theirs = int(other.finish(120).stdout)
    rows = one.trials()
    assert len(rows) == 12 == len(run.trained) + theirs
    assert len({str(each.change) for each in rows}) == 12


def test_a_server_that_is_not_there_is_said_at_once(tmp_path: Path) -> None:
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    from netwright.errors import UsageError

    with pytest.raises(UsageError) as caught:
        study(tmp_path, url="postgresql+psycopg://someone:secret@127.0.0.1:1/none")
    assert "secret" not in str(caught.value)
    assert "--storage" in caught.value.where
