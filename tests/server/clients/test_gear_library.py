"""The library `gear` (OpenStack): Client and Worker."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import gear
import pytest

from tests.harness import PATIENCE, ServerProcess

# gear calls Condition.notifyAll, which Python has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:gear")


class WatchedJob(gear.TextJob):
    """A job whose end can be waited for."""

    def __init__(self, *arguments: object, **options: object) -> None:
        super().__init__(*arguments, **options)
        self.ended = threading.Event()


class WatchedClient(gear.Client):
    """A client that says when a job has ended."""

    def handleWorkComplete(self, packet):  # noqa: N802 - the library's name
        self._end(super().handleWorkComplete(packet))

    def handleWorkFail(self, packet):  # noqa: N802 - the library's name
        self._end(super().handleWorkFail(packet))

    def handleWorkException(self, packet):  # noqa: N802 - the library's name
        self._end(super().handleWorkException(packet))

    def _end(self, job):
        job.ended.set()

    def run(self, job: WatchedJob, **options: object) -> WatchedJob:
        """Submit a foreground job and wait for its end."""
        self.submitJob(job, **options)
        assert job.handle
        assert job.ended.wait(PATIENCE)
        return job


@pytest.fixture
def running() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def gear_client(server: ServerProcess, running: ExitStack) -> WatchedClient:
    client = WatchedClient("gear-client")
    running.callback(client.shutdown)
    client.addServer(server.host, server.port)
    client.waitForServer(timeout=PATIENCE)
    return client


@pytest.fixture
def start_worker(server: ServerProcess, running: ExitStack) -> Callable[..., gear.Worker]:
    def start(function: str, perform: Callable[[gear.WorkerJob], None], jobs: int = 1) -> gear.Worker:
        worker = gear.TextWorker("gear-worker")
        worker.addServer(server.host, server.port)
        worker.waitForServer(timeout=PATIENCE)
        worker.registerFunction(function)

        def work() -> None:
            try:
                for _ in range(jobs):
                    perform(worker.getJob())
            except gear.InterruptedError:
                return

        thread = threading.Thread(target=work)
        thread.start()

        def stop() -> None:
            worker.stopWaitingForJobs()
            thread.join(PATIENCE)
            worker.shutdown()

        running.callback(stop)
        return worker

    return start


@pytest.fixture
def name(function) -> str:
    return function.decode()


class TestGear:
    def test_a_foreground_job_gets_its_result(self, gear_client, start_worker, name):
        start_worker(name, lambda job: job.sendWorkComplete(job.arguments.upper()))
        job = gear_client.run(WatchedJob(name, "words"))
        assert (job.complete, job.failure, job.data) == (True, False, ["WORDS"])

    def test_data_warning_and_status_arrive_before_the_result(self, gear_client, start_worker, name):
        def perform(job: gear.WorkerJob) -> None:
            job.sendWorkData("part one")
            job.sendWorkStatus(3, 4)
            job.sendWorkWarning("careful")
            job.sendWorkComplete("end")

        start_worker(name, perform)
        job = gear_client.run(WatchedJob(name, "x"))
        assert job.data == ["part one", "careful", "end"]
        assert (job.warning, job.numerator, job.denominator) == (True, b"3", b"4")

    def test_a_failure_arrives(self, gear_client, start_worker, name):
        start_worker(name, lambda job: job.sendWorkFail())
        assert gear_client.run(WatchedJob(name, "x")).failure

    def test_an_exception_arrives_when_the_option_is_set(self, gear_client, start_worker, name):
        assert gear_client.setOption("exceptions")
        start_worker(name, lambda job: job.sendWorkException("boom"))
        job = gear_client.run(WatchedJob(name, "x"))
        assert (job.failure, job.exception) == (True, "boom")

    def test_an_exception_arrives_as_a_failure_when_it_is_not(self, gear_client, start_worker, name):
        start_worker(name, lambda job: job.sendWorkException("boom"))
        job = gear_client.run(WatchedJob(name, "x"))
        assert (job.failure, job.exception) == (True, None)

    @pytest.mark.parametrize("precedence", [gear.PRECEDENCE_HIGH, gear.PRECEDENCE_NORMAL, gear.PRECEDENCE_LOW])
    @pytest.mark.parametrize("background", [False, True])
    def test_every_priority_in_the_foreground_and_in_the_background(
        self, gear_client, start_worker, name, precedence, background
    ):
        performed = threading.Event()

        def perform(job: gear.WorkerJob) -> None:
            job.sendWorkComplete()
            performed.set()

        start_worker(name, perform)
        gear_client.submitJob(WatchedJob(name, "x"), background=background, precedence=precedence)
        assert performed.wait(PATIENCE)

    def test_the_worker_learns_the_unique_key(self, gear_client, start_worker, name):
        start_worker(name, lambda job: job.sendWorkComplete(job.unique))
        assert gear_client.run(WatchedJob(name, "x", unique="key-of-" + name)).data == ["key-of-" + name]

    def test_many_jobs_are_done_by_two_workers(self, gear_client, start_worker, name):
        for _ in range(2):
            start_worker(name, lambda job: job.sendWorkComplete(job.arguments), jobs=100)
        jobs = [WatchedJob(name, str(number)) for number in range(60)]
        for job in jobs:
            gear_client.submitJob(job)
        for job in jobs:
            assert job.ended.wait(PATIENCE)
        assert [job.data for job in jobs] == [[str(number)] for number in range(60)]

    def test_the_connection_answers_administrative_requests(self, gear_client, name):
        gear_client.submitJob(WatchedJob(name, "x"), background=True)
        connection = gear_client.getConnection()
        for request in (gear.StatusAdminRequest(), gear.WorkersAdminRequest(), gear.ShowJobsAdminRequest()):
            connection.sendAdminRequest(request, timeout=PATIENCE)
            assert request.response.endswith(b".\n")
        version = gear.VersionAdminRequest()
        connection.sendAdminRequest(version, timeout=PATIENCE)
        assert version.response.startswith(b"OK ")

    def test_a_job_is_cancelled_by_an_administrative_request(self, gear_client, name):
        job = WatchedJob(name, "x")
        gear_client.submitJob(job)
        request = gear.CancelJobAdminRequest(job.handle)
        gear_client.getConnection().sendAdminRequest(request, timeout=PATIENCE)
        assert request.response.startswith(b"OK")
        assert job.ended.wait(PATIENCE)
        assert job.failure
