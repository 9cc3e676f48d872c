"""How much memory a process may use is the least of what the machine has and what its control groups allow."""

import mmap
import os
from pathlib import Path

import pytest

from node import machine
from node.machine import disk_room, memory_limit, memory_used

MIB = 1024**2


class Host:
    """The files of a machine that tell of memory."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.write("proc/meminfo", "MemFree:  1 kB\nMemTotal:       8388608 kB\nHugePages_Total:       0\n")

    def write(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="ascii")

    @property
    def limit(self) -> float:
        return memory_limit(self.root) / MIB


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


class TestTheLimitOfMemory:
    def test_is_the_machines_memory_where_nothing_else_is_set(self, host):
        assert host.limit == 8192

    def test_is_that_of_the_own_group(self, host):
        host.write("proc/self/cgroup", "0::/system.slice/gearmesh.service\n")
        host.write("sys/fs/cgroup/system.slice/gearmesh.service/memory.max", f"{512 * MIB}\n")
        host.write("sys/fs/cgroup/system.slice/memory.max", "max\n")
        assert host.limit == 512

    def test_is_that_of_a_group_above_where_that_is_less(self, host):
        host.write("proc/self/cgroup", "0::/kubepods/pod1/main\n")
        host.write("sys/fs/cgroup/kubepods/pod1/main/memory.max", "max\n")
        host.write("sys/fs/cgroup/kubepods/pod1/memory.max", f"{300 * MIB}\n")
        host.write("sys/fs/cgroup/kubepods/memory.max", f"{4096 * MIB}\n")
        assert host.limit == 300

    def test_counts_from_where_a_process_is_slowed(self, host):
        host.write("proc/self/cgroup", "0::/a\n")
        host.write("sys/fs/cgroup/a/memory.max", f"{512 * MIB}\n")
        host.write("sys/fs/cgroup/a/memory.high", f"{400 * MIB}\n")
        assert host.limit == 400

    def test_is_found_in_a_container_that_sees_its_own_group_as_the_root(self, host):
        for place in ("0::/\n", "0::/docker/4f1c\n", "0::/../../docker\n"):
            host.write("proc/self/cgroup", place)
            host.write("sys/fs/cgroup/memory.max", f"{256 * MIB}\n")
            assert host.limit == 256

    def test_is_found_in_version_1_of_control_groups(self, host):
        host.write("proc/self/cgroup", "12:cpu,cpuacct:/a\n5:memory:/docker/4f1c\n1:name=systemd:/x\n0::/\n")
        host.write("sys/fs/cgroup/memory/docker/4f1c/memory.limit_in_bytes", f"{700 * MIB}\n")
        assert host.limit == 700
        host.write("sys/fs/cgroup/memory/memory.limit_in_bytes", f"{600 * MIB}\n")
        assert host.limit == 600

    def test_takes_no_number_for_a_limit_that_is_none(self, host):
        host.write("proc/self/cgroup", "5:memory:/\n")
        host.write("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n")
        assert host.limit == 8192

    def test_does_not_fail_for_what_cannot_be_read(self, host):
        host.write("proc/meminfo", "nothing that we know\n")
        host.write("proc/self/cgroup", "0\n\n5:memory\n0::/a\n")
        host.write("sys/fs/cgroup/a/memory.max", "much\n")
        assert memory_limit(host.root) == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")

    def test_is_a_positive_number_on_this_machine(self):
        assert memory_limit() > 0


class TestMemoryInUse:
    def test_is_what_is_resident(self, host):
        host.write("proc/self/statm", "100000 2500 900 1 0 9000 0\n")
        assert memory_used(host.root) == 2500 * os.sysconf("SC_PAGE_SIZE")

    def test_is_not_known_where_the_system_does_not_say(self, host):
        assert memory_used(host.root) is None

    def test_follows_what_is_taken(self):
        before = memory_used()
        assert before is not None
        with mmap.mmap(-1, 64 * MIB) as taken:  # the heap may have that much to spare
            taken.write(b"x" * (64 * MIB))
            assert memory_used() > before + 48 * MIB


class TestTheRoomOnADisk:
    def test_is_what_a_user_without_privileges_may_take(self, tmp_path, monkeypatch):
        found = os.statvfs_result((4096, 1024, 1000, 500, 400, 0, 0, 0, 0, 255))
        monkeypatch.setattr(machine.os, "statvfs", lambda _: found)
        assert disk_room(tmp_path) == machine.Room(free=400 * 1024, total=1000 * 1024)

    def test_is_an_error_where_there_is_no_directory(self, tmp_path):
        with pytest.raises(OSError, match="No such file"):
            disk_room(tmp_path / "gone")
