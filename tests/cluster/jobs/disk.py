"""What a node's storage keeps of one table. Not for: the disk itself."""

from cluster.jobs import JobTable, MirrorWriter, TableMirror, restore


class Disk:
    """What a node's storage keeps of one table: blobs by number."""

    def __init__(self) -> None:
        self.meta = b""
        self.segments: dict[int, bytes] = {}
        self.payloads: dict[int, bytes] = {}

    def write(self, mirror: TableMirror) -> None:
        self.meta = mirror.meta
        for number, data in mirror.segments:
            if data is None:
                del self.segments[number]
            else:
                self.segments[number] = data
        for number, payload in mirror.payloads:
            assert number not in self.payloads, "a payload was written twice"
            self.payloads[number] = payload
        for number in mirror.dropped_payloads:
            del self.payloads[number]

    def read(self, audience: str) -> tuple[JobTable, MirrorWriter]:
        return restore(self.meta, self.segments.items(), self.payloads.items(), audience)

    def copy(self) -> "Disk":
        copy = Disk()
        copy.meta, copy.segments, copy.payloads = self.meta, dict(self.segments), dict(self.payloads)
        return copy
