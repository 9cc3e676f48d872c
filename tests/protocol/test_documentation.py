from pathlib import Path

import pytest

from protocol import (
    DEFAULT_MAX_PACKET,
    LAYOUTS,
    MAX_CLIENT_ID,
    MAX_FUNCTION,
    MAX_HANDLE,
    MAX_LINE,
    MAX_UNIQUE,
    Route,
)

PAGE = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text(encoding="utf-8")
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.splitlines() if line.startswith("|")]
WAYS = {
    "client -> server": Route.CLIENT_TO_SERVER,
    "worker -> server": Route.WORKER_TO_SERVER,
    "server -> client": Route.SERVER_TO_CLIENT,
    "server -> worker": Route.SERVER_TO_WORKER,
}


class TestThePageOnTheProtocol:
    def test_lists_every_packet_as_it_is_spoken(self):
        packets = {int(row[0]): row[1:] for row in ROWS if row[0].isdigit()}
        spoken = {
            int(kind): [
                kind.name,
                ", ".join(way for way, flag in WAYS.items() if layout.route & flag),
                ", ".join(layout.arguments) or "-",
            ]
            for kind, layout in LAYOUTS.items()
        }
        assert packets == spoken

    @pytest.mark.parametrize(
        ("what", "limit"),
        [
            ("body of a packet", f"{DEFAULT_MAX_PACKET // 2**20} MiB (`--max-packet`)"),
            ("function name", f"{MAX_FUNCTION} bytes"),
            ("unique key", f"{MAX_UNIQUE} bytes"),
            ("job handle", f"{MAX_HANDLE} bytes"),
            ("client id", f"{MAX_CLIENT_ID} bytes"),
            ("text line", f"{MAX_LINE} bytes before its LF"),
        ],
    )
    def test_states_the_limits_as_they_are(self, what, limit):
        assert [row[1] for row in ROWS if row[0] == what] == [limit]
