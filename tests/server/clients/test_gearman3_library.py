"""The library `gearman3` (python-gearman for Python 3): GearmanClient, GearmanWorker, GearmanAdminClient.

Its release 0.2.1 has faults on today's Python, with any server: it calls a method of `array` that Python 3.9 took away,
and its administrative client compares the bytes of answers with text. The tests mend these two, so that everything else
in it is the library's own. Names and data are bytes to it; `known` in the status of a job is never true.
"""

import array
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import gearman
import pytest
from gearman.constants import PRIORITY_HIGH, PRIORITY_LOW

from tests.harness import PATIENCE, ServerProcess


class Buffer(array.array):
    """An array with the method that it had until Python 3.8."""

    fromstring = array.array.frombytes

    def __getitem__(self, index):
        found = super().__getitem__(index)
        return Buffer(self.typecode, found) if isinstance(index, slice) else found


@pytest.fixture(autouse=True)
def _array_of_python_3_8(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gearman.connection.array, "array", Buffer)


@pytest.fixture
def server(start_server) -> ServerProcess:
    """Give a server of its own: the library reads names that are not text as a broken answer."""
    return start_server()


class AdminHandler(gearman.admin_client.GearmanAdminClientCommandHandler):
    """Hands lines of text to the library's parsers as text, without the CR that some answers end in."""

    def recv_text_command(self, raw_text: bytes) -> bool:
        return super().recv_text_command(raw_text.decode(errors="backslashreplace").removesuffix("\r"))


class AdminClient(gearman.GearmanAdminClient):
    """The library's client with that handler."""

    command_handler_class = AdminHandler


class StoppableWorker(gearman.GearmanWorker):
    """A worker that looks often whether it is to stop, and then lets go of its connections."""

    def __init__(self, hosts: list[str]) -> None:
        super().__init__(hosts)
        self.stopping = threading.Event()
        self.registered = threading.Event()

    def after_poll(self, any_activity) -> bool:
        self.registered.set()
        return not self.stopping.is_set()


@pytest.fixture
def running() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def gearman_client(server: ServerProcess, running: ExitStack) -> gearman.GearmanClient:
    client = gearman.GearmanClient([server.address])
    running.callback(client.shutdown)
    return client


@pytest.fixture
def admin(server: ServerProcess, running: ExitStack) -> AdminClient:
    admin = AdminClient([server.address], poll_timeout=PATIENCE)
    running.callback(admin.shutdown)
    return admin


@pytest.fixture
def start_worker(server: ServerProcess, running: ExitStack) -> Callable[..., StoppableWorker]:
    def start(task: bytes, perform: Callable[..., bytes]) -> StoppableWorker:
        worker = StoppableWorker([server.address])
        worker.set_client_id(b"gearman3-" + task)
        worker.register_task(task, perform)
        thread = threading.Thread(target=worker.work, kwargs={"poll_timeout": 0.05})
        thread.start()

        def stop() -> None:
            worker.stopping.set()
            thread.join(PATIENCE)
            worker.shutdown()

        running.callback(stop)
        assert worker.registered.wait(PATIENCE)
        return worker

    return start


@pytest.fixture
def task(function) -> bytes:
    return function


def submit(client: gearman.GearmanClient, task: bytes, data: bytes, **options: object) -> gearman.job.GearmanJobRequest:
    return client.submit_job(task, data, poll_timeout=PATIENCE, **options)


class TestClientAndWorker:
    def test_a_foreground_job_gets_its_result(self, gearman_client, start_worker, task):
        start_worker(task, lambda _worker, job: job.data[::-1])
        request = submit(gearman_client, task, b"words")
        assert (request.state, request.result) == (gearman.JOB_COMPLETE, b"sdrow")

    @pytest.mark.parametrize("priority", [PRIORITY_HIGH, PRIORITY_LOW])
    def test_other_priorities(self, gearman_client, start_worker, task, priority):
        start_worker(task, lambda _worker, job: job.data)
        assert submit(gearman_client, task, b"x", priority=priority).result == b"x"

    def test_status_data_and_warnings_arrive(self, gearman_client, start_worker, task):
        def perform(worker: gearman.GearmanWorker, job: gearman.job.GearmanJob) -> bytes:
            worker.send_job_status(job, 1, 2)
            worker.send_job_data(job, b"part")
            worker.send_job_warning(job, b"careful")
            return b"end"

        start_worker(task, perform)
        request = submit(gearman_client, task, b"x")
        assert (request.state, request.result) == (gearman.JOB_COMPLETE, b"end")
        assert list(request.data_updates) == [b"part"]
        assert list(request.warning_updates) == [b"careful"]

    def test_a_job_that_raises_fails(self, gearman_client, start_worker, task):
        def perform(*_: object) -> bytes:
            raise ValueError("boom")

        start_worker(task, perform)
        assert submit(gearman_client, task, b"x").state == gearman.JOB_FAILED

    def test_a_worker_that_sends_an_exception_and_a_failure_goes_on_working(self, gearman_client, start_worker, task):
        """The library sends both; gearmand answers the second with an ERROR, and the client raises KeyError."""

        class ExceptionWorker(StoppableWorker):
            def on_job_exception(self, current_job, exc_info):
                self.send_job_exception(current_job, str(exc_info[1]))
                return False

        def perform(_: object, job: gearman.job.GearmanJob) -> bytes:
            if job.data == b"bad":
                raise ValueError("boom")
            return job.data

        worker = start_worker(task, perform)
        worker.__class__ = ExceptionWorker
        assert submit(gearman_client, task, b"bad").state == gearman.JOB_FAILED
        assert submit(gearman_client, task, b"good").result == b"good"

    def test_a_background_job_is_accepted_and_run(self, gearman_client, start_worker, task):
        performed = threading.Event()

        def perform(*_: object) -> bytes:
            performed.set()
            return b""

        request = submit(gearman_client, task, b"x", background=True, wait_until_complete=False)
        assert request.job.handle
        start_worker(task, perform)
        assert performed.wait(PATIENCE)

    def test_several_jobs_at_once(self, gearman_client, start_worker, task):
        start_worker(task, lambda _worker, job: job.data)
        requests = gearman_client.submit_multiple_jobs(
            [{"task": task, "data": b"%d" % number} for number in range(30)], poll_timeout=PATIENCE
        )
        assert [request.result for request in requests] == [b"%d" % number for number in range(30)]

    def test_the_status_of_a_queued_job_is_told(self, gearman_client, task):
        request = submit(gearman_client, task, b"x", background=True, wait_until_complete=False)
        status = gearman_client.get_job_status(request, poll_timeout=PATIENCE).status
        assert (status["handle"], status["numerator"], status["denominator"]) == (request.job.handle, 0, 0)
        assert not request.timed_out


class TestAdminClient:
    def test_status_workers_and_jobs_are_read(self, admin, gearman_client, start_worker, task):
        start_worker(task, lambda _worker, job: job.data)
        request = submit(
            gearman_client, task + b"-queued", b"x", background=True, wait_until_complete=False, unique=task
        )
        status = {row["task"]: row for row in admin.get_status()}
        name = task.decode()
        assert (status[name]["workers"], status[name + "-queued"]["queued"]) == (1, 1)
        assert [row["tasks"] for row in admin.get_workers() if row["client_id"] == "gearman3-" + name] == [(name,)]
        assert request.job.handle.decode() in {row["handle"] for row in admin.get_jobs()}
        assert [name] in [row["unique"] for row in admin.get_unique_jobs()]

    def test_a_job_is_cancelled(self, admin, gearman_client, task):
        request = submit(gearman_client, task, b"x", background=True, wait_until_complete=False)
        assert admin.cancel_job(request.job.handle.decode()) == "OK"
        assert admin.cancel_job(request.job.handle.decode()) == "ERR UNKNOWN_JOB"

    def test_a_limit_is_set(self, admin, task):
        assert admin.send_maxqueue(task.decode(), 5) == "OK"

    def test_version_pid_and_ping_are_answered(self, admin, server, monkeypatch):
        monkeypatch.setattr(gearman.admin_client, "ECHO_STRING", b"ping? pong!")
        assert admin.get_version().startswith("OK ")
        assert admin.get_pid() == f"OK {server.pid}"
        assert admin.ping_server() < PATIENCE
