"""Faults under a running study: processes, nodes, servers and files are killed, lost or damaged, and the results stay the same.

Run by `make test-faults`, in about 40 minutes.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import boto3
import pandas as pd
import psutil
import pytest
from mlflow.tracking import MlflowClient
from moto.server import ThreadedMotoServer
from ray.cluster_utils import Cluster

from analysis.recovery import Study, matrix, recovery
from analysis.tracking import load
from study.tracking import default_uri
from tests.launch import tiny_plan
from trainables import Folder

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1200)]

LAUNCH = Path(__file__).with_name("launch.py")
PATIENCE = 300.0
"""Seconds that a test waits for a launch."""


@dataclass(frozen=True)
class Launch:
    """A running launch and the file with its output."""

    process: subprocess.Popen[bytes]
    log: Path

    def wait_for(self, happened: Callable[[], bool]) -> None:
        """Poll until something happened; fail if the launch ends first."""
        deadline = time.monotonic() + PATIENCE
        while not happened():
            assert self.process.poll() is None, f"the launch ended too early:\n{self.log.read_text()}"
            assert time.monotonic() < deadline, f"nothing happened within {PATIENCE:.0f} s:\n{self.log.read_text()}"
            time.sleep(0.05)

    def wait_for_line(self, text: str) -> None:
        self.wait_for(lambda: text in self.log.read_text())

    def end(self) -> int:
        return self.process.wait(PATIENCE)


def launch(storage: str, log: Path, *arguments: str, environment: dict[str, str] | None = None) -> Launch:
    with log.open("wb") as file:
        command = [sys.executable, str(LAUNCH), storage, *arguments]
        env = {**os.environ, "PYTHONUNBUFFERED": "1", **(environment or {})}
        return Launch(subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, env=env, cwd=LAUNCH.parents[1]), log)


def finish(storage: str, log: Path, *arguments: str, environment: dict[str, str] | None = None) -> None:
    """Launch again; this launch must complete."""
    ended = launch(storage, log, *arguments, environment=environment)
    assert ended.end() == 0, log.read_text()


def tables(uri: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The report's tables, in an order that does not depend on when trials ended."""
    study = Study(load(uri, "tiny"))
    return (
        recovery(study).sort_values(["cell", "metric", "level"]).reset_index(drop=True),
        matrix(study).sort_values(["cell", "metric", "level"]).reset_index(drop=True),
    )


def assert_equal_tables(uri: str, undisturbed: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    """Check that the report's tables are bit-identical to those of the undisturbed study."""
    for found, expected in zip(tables(uri), undisturbed, strict=True):
        pd.testing.assert_frame_equal(found, expected, check_exact=True)


def assert_sound(uri: str, undisturbed: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    """Check for bit-identical tables, one finished run per trial and a summary run, and histories without gaps or repeats."""
    assert_equal_tables(uri, undisturbed)
    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("tiny")
    assert experiment is not None
    runs = list(client.search_runs([experiment.experiment_id]))
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert sorted(run.data.tags["kind"] for run in runs) == ["summary", "trial", "trial", "trial"]
    trials = [run for run in runs if run.data.tags["kind"] == "trial"]
    assert len({run.data.tags["trial"] for run in trials}) == len(trials)
    for run in trials:
        by_epoch = {name: [1, 2] for name in ("train/loss", "val/miou")}
        by_level = {name: [5, 10, 15, 50, 75, 95] for name in ("validation/jpeg/miou", "test/jpeg/miou")}
        for name, steps in (by_epoch | by_level).items():
            assert sorted(metric.step for metric in client.get_metric_history(run.info.run_id, name)) == steps


def uri_of(storage: Path) -> str:
    return default_uri(Folder.at(str(storage)))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[pd.DataFrame, pd.DataFrame]:
    storage = tmp_path_factory.mktemp("undisturbed")
    finish(str(storage), storage / "log")
    return tables(uri_of(storage))


def folder_of(storage: Path, cell: str) -> Path:
    plan = tiny_plan(str(storage))
    entry = next(entry for entry in plan.entries if entry.cell.name == cell)
    folder = plan.folder(entry)
    assert folder is not None
    assert folder.folder.local is not None
    return folder.folder.local


def kill_tree(process: psutil.Process, only: Callable[[psutil.Process], bool] = psutil.Process.is_running) -> int:
    """SIGKILL the processes that a launch started; returns their number."""
    chosen = [child for child in process.children(recursive=True) if only(child)]
    for child in chosen:
        child.kill()
    return len(chosen)


def is_worker(process: psutil.Process) -> bool:
    try:
        return "Trainable" in " ".join(process.cmdline())  # Ray names a worker's process after the class it runs
    except psutil.NoSuchProcess:
        return False


def is_raylet(process: psutil.Process) -> bool:
    try:
        return process.name() == "raylet"
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize(
    "when",
    [
        "segnet/clean/baseline seed 0: epoch 1/2",
        "segnet/clean/baseline seed 0: done",
        "segnet/jpeg/constant-5 seed 0: epoch 1/2",
    ],
)
def test_a_killed_driver_changes_nothing(tmp_path: Path, undisturbed: tuple[pd.DataFrame, pd.DataFrame], when: str) -> None:
    first = launch(str(tmp_path), tmp_path / "first.log")
    first.wait_for_line(when)
    first.process.kill()
    first.end()
    finish(str(tmp_path), tmp_path / "second.log")
    assert_sound(uri_of(tmp_path), undisturbed)


def test_a_driver_killed_while_scoring_changes_nothing(tmp_path: Path, undisturbed: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    first = launch(str(tmp_path), tmp_path / "first.log")
    scores = folder_of(tmp_path, "segnet/jpeg/constant-5") / "scores" / "test"
    first.wait_for(lambda: len(list(scores.glob("*.json"))) >= 2)
    first.process.kill()
    first.end()
    finish(str(tmp_path), tmp_path / "second.log")
    assert_sound(uri_of(tmp_path), undisturbed)


@pytest.mark.parametrize("write", [2, 4])
def test_a_driver_killed_inside_a_write_to_mlflow_changes_nothing(
    tmp_path: Path, undisturbed: tuple[pd.DataFrame, pd.DataFrame], write: int
) -> None:
    first = launch(str(tmp_path), tmp_path / "first.log", "--die-in-mlflow", str(write))
    assert first.end() == -signal.SIGKILL
    finish(str(tmp_path), tmp_path / "second.log")
    assert_sound(uri_of(tmp_path), undisturbed)


def test_a_killed_worker_is_replaced_within_the_launch(tmp_path: Path, undisturbed: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    first = launch(str(tmp_path), tmp_path / "first.log")
    first.wait_for_line("segnet/jpeg/constant-5 seed 0: epoch 1/2")
    assert kill_tree(psutil.Process(first.process.pid), is_worker) >= 1
    assert first.end() == 0, first.log.read_text()
    assert "constant-5 seed 0: its process died; another continues after the last epoch" in first.log.read_text()
    assert_sound(uri_of(tmp_path), undisturbed)


def test_a_trial_whose_process_keeps_dying_fails_and_is_named(tmp_path: Path) -> None:
    first = launch(str(tmp_path), tmp_path / "first.log")
    parent = psutil.Process(first.process.pid)
    while first.process.poll() is None:
        kill_tree(parent, is_worker)
        time.sleep(1)
    assert first.end() == 1
    log = first.log.read_text()
    assert "segnet/clean/baseline seed 0: FAILED: its process died" in log
    assert "waits for segnet/clean/baseline seed 0" in log


def test_a_killed_raylet_loses_only_the_current_epoch(tmp_path: Path, undisturbed: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    first = launch(str(tmp_path), tmp_path / "first.log")
    first.wait_for_line("segnet/clean/baseline seed 0: epoch 1/2")
    assert kill_tree(psutil.Process(first.process.pid), is_raylet) == 1
    try:
        first.process.wait(60)
    except subprocess.TimeoutExpired:  # without its raylet the driver may wait forever, until the user stops it
        kill_tree(psutil.Process(first.process.pid))
        first.process.kill()
        first.end()
    finish(str(tmp_path), tmp_path / "second.log")
    assert_sound(uri_of(tmp_path), undisturbed)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 1)])
def test_an_interrupted_launch_names_what_is_missing_and_the_next_one_continues(
    tmp_path: Path, undisturbed: tuple[pd.DataFrame, pd.DataFrame], number: signal.Signals, code: int
) -> None:
    first = launch(str(tmp_path), tmp_path / "first.log")
    first.wait_for_line("segnet/clean/baseline seed 0: epoch 1/2")
    interrupted = time.monotonic()
    first.process.send_signal(number)
    assert first.end() == code
    assert time.monotonic() - interrupted < 60
    assert "segnet/jpeg/constant-5 seed 0" in first.log.read_text()
    client = MlflowClient(tracking_uri=uri_of(tmp_path))
    experiment = client.get_experiment_by_name("tiny")
    assert experiment is not None
    assert {run.info.status for run in client.search_runs([experiment.experiment_id])} == {"KILLED"}
    finish(str(tmp_path), tmp_path / "second.log")
    assert_sound(uri_of(tmp_path), undisturbed)


def test_a_second_launch_on_the_same_storage_is_refused(tmp_path: Path, undisturbed: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    first = launch(str(tmp_path), tmp_path / "first.log")
    first.wait_for_line("segnet/clean/baseline seed 0: epoch 1/2")
    second = launch(str(tmp_path), tmp_path / "second.log")
    assert second.end() == 2
    assert f"is in use by process {first.process.pid} on" in second.log.read_text()
    assert first.end() == 0
    assert_sound(uri_of(tmp_path), undisturbed)


def test_damaged_and_deleted_store_files_change_nothing(tmp_path: Path, undisturbed: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    store = tmp_path / "store"
    first = launch(str(tmp_path / "runs"), tmp_path / "first.log", environment={"STUDY_STORE": str(store)})
    first.wait_for_line("segnet/jpeg/constant-5 seed 0: epoch 1/2")
    packs = sorted(store.rglob("*.pack"))
    assert len(packs) >= 5
    for place, pack in enumerate(packs):
        if place % 3 == 0:
            pack.unlink()
        elif place % 3 == 1:
            os.truncate(pack, pack.stat().st_size // 2)
        else:
            with pack.open("r+b") as file:
                file.seek(pack.stat().st_size // 3)
                file.write(b"damage")
    assert first.end() == 0, first.log.read_text()
    assert_sound(uri_of(tmp_path / "runs"), undisturbed)


def test_a_truncated_weights_file_is_trained_again(tmp_path: Path, undisturbed: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    finish(str(tmp_path), tmp_path / "first.log")
    weights = folder_of(tmp_path, "segnet/clean/baseline") / "weights.pt"
    size = weights.stat().st_size
    os.truncate(weights, size // 2)
    finish(str(tmp_path), tmp_path / "second.log")
    assert "segnet/clean/baseline seed 0: epoch 2/2" in (tmp_path / "second.log").read_text()
    assert weights.stat().st_size == size
    assert_equal_tables(uri_of(tmp_path), undisturbed)


@contextmanager
def mlflow_server(folder: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """A tracking server on the loopback interface, with its store in a folder."""
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    stores = ["--backend-store-uri", f"sqlite:///{folder / 'server.db'}", "--artifacts-destination", str(folder / "artifacts")]
    with (folder / "server.log").open("ab") as log:
        server = subprocess.Popen([*command, *stores], stdout=log, stderr=log, start_new_session=True)
    try:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.2)
        yield server
    finally:
        kill_tree(psutil.Process(server.pid))
        server.kill()
        server.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_tracking_server_that_was_down_for_a_while_receives_everything(
    tmp_path: Path, undisturbed: tuple[pd.DataFrame, pd.DataFrame]
) -> None:
    port = free_port()
    uri = f"http://127.0.0.1:{port}"
    with mlflow_server(tmp_path, port):
        first = launch(str(tmp_path / "runs"), tmp_path / "first.log", "--tracking-uri", uri)
        first.wait_for_line("segnet/clean/baseline seed 0: epoch 1/2")
    first.wait_for_line("segnet/clean/continued seed 0: epoch 2/2")  # a server takes about 15 s to start
    with mlflow_server(tmp_path, port):
        assert first.end() == 0, first.log.read_text()
        assert_sound(uri, undisturbed)


def test_a_dead_tracking_server_stops_no_training_and_is_filled_later(
    tmp_path: Path, undisturbed: tuple[pd.DataFrame, pd.DataFrame]
) -> None:
    port = free_port()
    uri = f"http://127.0.0.1:{port}"
    first = launch(str(tmp_path / "runs"), tmp_path / "first.log", "--tracking-uri", uri)
    assert first.end() == 1
    assert f"cannot report to MLflow at {uri}" in first.log.read_text()
    with mlflow_server(tmp_path, port):
        finish(str(tmp_path / "runs"), tmp_path / "second.log", "--tracking-uri", uri)
        assert_sound(uri, undisturbed)


@contextmanager
def s3(folder: str) -> Iterator[tuple[str, dict[str, str]]]:
    """An S3 server on the loopback interface: the URI of a folder there, and its credentials."""
    credentials = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        session = boto3.Session(*credentials.values(), region_name="us-east-1")
        session.client("s3", endpoint_url=f"http://{host}:{port}").create_bucket(Bucket="study")
        yield f"s3://study/{folder}?endpoint_override={host}:{port}&scheme=http&region=us-east-1", credentials
    finally:
        server.stop()


def test_a_study_on_s3_gives_the_same_results_after_a_kill(tmp_path: Path, undisturbed: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    with s3("runs") as (storage, credentials):
        first = launch(storage, tmp_path / "first.log", "--tracking-uri", uri, environment=credentials)
        first.wait_for_line("segnet/jpeg/constant-5 seed 0: epoch 1/2")
        first.process.kill()
        first.end()
        finish(storage, tmp_path / "second.log", "--tracking-uri", uri, environment=credentials)
    assert_sound(uri, undisturbed)


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """Three raylets on this machine: a head without CPUs, and two nodes that run one trial each."""
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    for _ in range(2):
        made.add_node(num_cpus=1)
    made.wait_for_nodes()
    yield made
    made.shutdown()  # type: ignore[no-untyped-call]


def test_a_lost_node_changes_nothing(tmp_path: Path, undisturbed: tuple[pd.DataFrame, pd.DataFrame], cluster: Cluster) -> None:
    first = launch(str(tmp_path), tmp_path / "first.log", "--address", cluster.address)
    first.wait_for_line("segnet/jpeg/constant-5 seed 0: epoch 1/2")  # the second node trains the control
    cluster.remove_node(sorted(cluster.worker_nodes, key=str)[0], allow_graceful=False)
    assert first.end() == 0, first.log.read_text()
    assert_sound(uri_of(tmp_path), undisturbed)


def test_a_second_launch_on_a_ray_cluster_is_refused_on_storage_without_file_locks(tmp_path: Path, cluster: Cluster) -> None:
    address = ("--address", cluster.address, "--tracking-uri")
    with s3("claimed") as (storage, credentials):  # the server keeps the folders of other tests
        first = launch(storage, tmp_path / "1.log", *address, f"sqlite:///{tmp_path / '1.db'}", environment=credentials)
        first.wait_for_line("segnet/clean/baseline seed 0: epoch 1/2")
        second = launch(storage, tmp_path / "2.log", *address, f"sqlite:///{tmp_path / '2.db'}", environment=credentials)
        assert second.end() == 2
        assert "in use by another launch on this Ray cluster" in second.log.read_text()
        assert first.end() == 0, first.log.read_text()
