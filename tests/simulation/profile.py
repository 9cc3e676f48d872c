"""What kind of run a seed is: the size of the group, the settings, and what goes wrong how often."""

from random import Random

import msgspec

from tests.simulation import sizes
from tests.simulation.known import KNOWN
from tests.simulation.schedule import MS, SECOND

FAULTS = (
    "crash", "fuse", "blackout", "isolate", "oneway", "partial", "halves", "pause", "stall", "fsync", "full",
    "member", "transfer", "campaign", "clock", "noise", "links", "stop",
)  # fmt: skip
"""What the kind `everything` draws from. There are more, which leave a healthy majority and say whom they befall."""

KINDS: dict[str, dict[str, int]] = {
    "calm": {},
    "lossy": {"noise": 6, "links": 4, "transfer": 1},
    "partitions": {"isolate": 4, "oneway": 3, "partial": 3, "halves": 3, "links": 2, "noise": 1, "campaign": 1},
    "crashes": {"crash": 4, "fuse": 8, "blackout": 1, "stop": 2, "links": 1, "transfer": 1},
    "disks": {"stall": 4, "fsync": 3, "full": 2, "crash": 2, "fuse": 2, "blackout": 1},
    "membership": {"member": 10, "transfer": 3, "crash": 2, "fuse": 4, "isolate": 2, "oneway": 1, "campaign": 2},
    "shrinking": {"member": 8, "transfer": 1, "noise": 3, "oneway": 1, "links": 1, "crash": 1},
    "pauses": {"pause": 6, "clock": 3, "campaign": 2, "transfer": 1},
    "founding": {
        "crash": 3, "fuse": 8, "blackout": 1, "isolate": 2, "partial": 3, "halves": 2, "noise": 2, "links": 2,
        "stall": 1, "fsync": 1, "pause": 1, "clock": 1, "member": 2,
    },
    "admission": {
        "member": 12, "crash": 2, "fuse": 3, "isolate": 2, "partial": 1, "transfer": 1, "noise": 1, "links": 1,
    },
    "snapshots": {"isolate": 3, "crash": 3, "fuse": 3, "pause": 1, "noise": 3, "member": 2},
    "sizes": {"burst": 2, "isolate": 2, "nap": 3, "crash": 1, "slow": 1, "links": 1, "transfer": 1},
    "lags": {"doze": 6, "slow": 1},
    "floods": {"flood": 3, "doze": 2, "slow": 2},
    "naps": {"nap": 6, "transfer": 1},
    "frozen leaders": {"nap_leader": 5},
    "suspensions": {"nap_all": 5},
    "hangs": {"hang": 5, "slow": 3, "crash": 1},
    "leaders": {"hang_leader": 3, "slow_leader": 3},
    "rot": {"rot": 6, "crash": 3, "isolate": 1},
    "clocks": {"step": 6, "nap": 1},
    "everything": dict.fromkeys(FAULTS, 1) | {"fuse": 3, "member": 3},
}  # fmt: skip
FORMING: dict[str, float] = {
    "founding": 1.0, "admission": 1.0, "membership": 0.3, "shrinking": 0.3, "everything": 0.25,
}  # fmt: skip
"""How often nodes begin blank and have to found their group, by the kind; else all are told who is in it."""


BY_NAME: dict[str, dict[str, int]] = {
    "stops": {"stop": 1},
    "limits": {},
    "departures": {
        "crash": 4, "fuse": 4, "isolate": 3, "oneway": 1, "pause": 2, "links": 2, "transfer": 3, "member": 2, "stop": 1,
    },
    "alarms": {"alarm": 8, "crash": 2, "fuse": 2, "isolate": 2, "stop": 1, "transfer": 1},
}  # fmt: skip
"""Kinds that are not drawn: each is for one promise which the others reach too rarely. Tests play them by name."""


class Profile(msgspec.Struct, frozen=True):
    """The choices that are made once for a run."""

    kind: str
    nodes: int
    faults: dict[str, int]
    """How often each fault is chosen, relative to the others."""
    interval: int
    """The mean time between two faults, in microseconds."""
    duration: int
    """How long things go wrong."""
    drift: float
    """How much the nodes' monotonic clocks differ in their rate, at most."""
    latency: int
    """Of the disks, in microseconds."""
    joins: bool
    unreadable: float
    """How often reading the mirror fails."""
    loss: float
    repeats: float
    jitter: int
    stragglers: float
    slander: float
    """How often a node is said to be out of reach that is there."""
    full: float
    """How often there is no room for reports."""
    scale: int
    """By how much everything in bytes is smaller than in a real cluster (`sizes`)."""
    pace: float
    """Of links, in bytes per microsecond."""
    progress: bool
    """Whether progress is required while a majority is healthy."""
    config: dict[str, int]
    retries: int
    tuning: dict[tuple[str, str], float]
    """Constants of the driver, by module and name, that are made small so that what is rare happens."""
    clients: int
    workers: int
    jobs: int
    """How many each client submits."""
    sample: int
    exact: bool
    """Whether the table's time has to be right (`punctuality`)."""
    forms: bool
    """Whether nodes have to found their group, and come into it by themselves."""


NEEDS_OTHERS = ("partitions", "membership", "snapshots", "founding", "admission", *BY_NAME)
"""Kinds that say nothing of a node alone."""
STEADY = ("naps", "frozen leaders", "suspensions", "hangs", "rot", "clocks", "sizes", "lags", "floods", "leaders")
"""Kinds in which a majority stays healthy most of the time, so that progress is required of it."""


def choose(random: Random, kind: str | None = None, nodes: int | None = None) -> Profile:
    """Draw a profile."""
    kinds = list(KINDS)
    # Everything at once finds most.
    chosen = random.choice([*kinds, "everything", "everything"])
    size = random.choice((1, 3, 3, 3, 3, 5, 5))
    kind = kind or chosen
    known = KNOWN.get(kind)
    faults = (KINDS | BY_NAME)[kind] if known is None else known.faults
    steady = kind in STEADY if known is None else known.steady
    if known is not None:
        size = known.nodes
    elif (kind in NEEDS_OTHERS or steady) and size == 1:
        size = 3
    if kind == "shrinking":
        size = 2
    small = kind in ("snapshots", "departures") or (not steady and random.random() < 0.5)
    noisy = kind in ("lossy", "everything", "snapshots", "shrinking", "founding", "admission")
    scaled = known.scaled if known is not None else kind in ("sizes", "floods") or (not small and random.random() < 0.2)
    # Many come and go there at once, and are sent everything: with slow links a seed would take seconds.
    scaled = scaled and kind not in ("founding", "admission", "lags")
    scale = sizes.SCALE if scaled else 1
    return Profile(
        kind=kind,
        nodes=nodes or size,
        faults=faults,
        interval=random.choice((2 * SECOND, 4 * SECOND) if steady else (SECOND // 3, SECOND, 2 * SECOND, 4 * SECOND)),
        duration=random.randrange(*((20, 41) if known is not None else (15, 31) if steady else (10, 26))) * SECOND,
        drift=random.choice((0.0, 0.05, 0.3)),
        latency=random.choice((200, MS, 5 * MS) if steady else (200, MS, 5 * MS, 30 * MS)),
        joins=random.random() < 0.7,
        unreadable=random.choice((0.0, 0.1)) if kind in ("disks", "everything", "snapshots") else 0.0,
        loss=random.choice((0.0, 0.02, 0.1)) if noisy else 0.0,
        repeats=random.choice((0.0, 0.02, 0.1)) if noisy else 0.0,
        jitter=random.choice((1, 5) if steady else (1, 5, 40)) * MS,
        stragglers=random.choice((0.0, 0.01, 0.05)) if noisy else 0.0,
        slander=0.0 if steady else random.choice((0.0, 0.1, 0.5)),
        full=0.0 if steady else random.choice((0.0, 0.0, 0.2)),
        scale=scale,
        pace=random.choice((125.0, 50.0)) / scale,
        progress=steady,
        config=_consensus(random, small=small, usual=steady or scale > 1, scale=scale)
        | (_lagging(random) if kind == "lags" else {}),
        retries=random.choice((-1, -1, -1, 2)),
        tuning=(
            MIRRORED if kind == "lags" else sizes.bounds(scale) if steady or scale > 1 else _tuning(random, small=small)
        )
        | _steps(random, kind),
        clients=random.randrange(2, 6),
        workers=random.randrange(2, 5),
        jobs=random.randrange(4, 13),
        sample=random.choice((1, 7, 16)) if scale == 1 else 16,
        exact=known is not None and known.exact,
        forms=random.random() < FORMING.get(kind, 0.0) and not scaled,
    )


MIRRORED: dict[tuple[str, str], float] = {
    ("node.driver.mirroring", "MIRROR_LOG_BYTES"): 500,
    ("node.driver.mirroring", "MIRROR_INTERVAL"): 0.05,
}
"""The table is mirrored again and again: so who lags a little may need it."""


def _lagging(random: Random) -> dict[str, int]:
    """Draw settings with which one that lags a little is sent a snapshot, more often than not."""
    return {
        "max_inflight": random.choice((1, 2, 4)),
        "kept_ticks": random.choice((0, 0, 20)),
        "kept_bytes": random.choice((8000, 1 << 28)),
        "chunk_bytes": random.choice((500, 4000)),
        "chunk_window": random.choice((1, 4, 16)),
    }


def _consensus(random: Random, *, small: bool, usual: bool, scale: int) -> dict[str, int]:
    """Draw the settings of consensus; `usual`: those in bytes are a server's."""
    drawn = {
        "election_ticks": random.choice((5, 5, 10)),
        "heartbeat_ticks": random.choice((1, 1, 2)),
        "promotion_lag": random.choice((0, 10, 1000)),
    }
    if usual:
        return drawn | sizes.consensus(scale)
    return drawn | {
        "max_append_bytes": random.choice((1, 300, 1 << 20)),
        "max_inflight": random.choice((1, 2, 64)),
        "max_inflight_bytes": random.choice((1, 2000, 1 << 23)),
        "max_uncommitted_bytes": random.choice((500, 1 << 26)),
        "max_apply_bytes": random.choice((1, 500, 1 << 22)),
        "max_recent_bytes": random.choice((0, 2000, 1 << 24)),
        "kept_bytes": random.choice((8000, 50000, 1 << 28)),
        "kept_ticks": random.choice((0, 20, 300)),
        "chunk_bytes": random.choice((50, 500, 4000)) if small else 1 << 18,
        "chunk_window": random.choice((1, 2, 4)),
    }


def _steps(random: Random, kind: str) -> dict[tuple[str, str], float]:
    """Draw how little of what is too much for one entry, or for one turn, is done in one."""
    if kind != "departures":
        return {}
    return {
        ("cluster.jobs.departures", "STEP"): random.choice((1, 1, 2, 3)),
        ("cluster.jobs.lifecycle", "DUE"): random.choice((1, 1, 2)),
        ("node.driver.mirroring", "STEP_SEGMENTS"): 1,
    }


def _tuning(random: Random, *, small: bool) -> dict[tuple[str, str], float]:
    """Draw constants that the driver's modules have instead of theirs."""
    tuning: dict[tuple[str, str], float] = {}
    if small:
        tuning["node.driver.mirroring", "MIRROR_LOG_BYTES"] = random.choice((200, 1000, 5000))
        tuning["node.driver.mirroring", "MIRROR_INTERVAL"] = random.choice((0.05, 0.5, 2.0))
    if random.random() < 0.5:
        tuning["node.driver.gathering", "MAX_BATCH_COMMANDS"] = random.choice((1, 2, 5))
        tuning["node.driver.gathering", "MAX_WRITE_BATCHES"] = random.choice((1, 2))
        tuning["node.driver.gathering", "CROWD"] = random.choice((1, 3, 8))
    if random.random() < 0.3:
        tuning["node.driver.intake", "MAX_BATCH"] = random.choice((1, 100, 6000))
        tuning["node.driver.intake", "MAX_WAITING"] = random.choice((100, 6000))
        tuning["node.driver.sending", "MAX_FORWARDS"] = random.choice((1, 2, 8))
    if random.random() < 0.4:
        # Workloads of a few bytes that travel in parts.
        part = random.choice((100, 500, 2000))
        for module in ("node.driver.uploads", "node.driver.gathering", "node.gateway.requests"):
            tuning[module, "PART"] = part
        tuning["node.driver.uploads", "WINDOW"] = random.choice((1, 1000, 4000))
    if random.random() < 0.4:
        # Connections that are soon full, or have soon had their turn.
        tuning["node.gateway.connection", "QUOTA"] = random.choice((1, 2, 5))
        tuning["node.gateway.connection", "MAX_WAITING"] = random.choice((0, 1, 3))
        tuning["node.gateway.connection", "MAX_SUBMITTED"] = random.choice((1, 3000))
        tuning["node.gateway.inbox", "MAX_MESSAGES"] = random.choice((1, 3))
        tuning["node.gateway.connection", "WRITE_HIGH"] = random.choice((20, 500))
        tuning["node.gateway.lists", "PIECE"] = random.choice((1, 3))
    if random.random() < 0.3:
        tuning["node.relay", "MAX_UNACKNOWLEDGED"] = random.choice((1, 100))
        tuning["node.driver.gathering", "MAX_BACKLOG"] = random.choice((1, 6000))
    if random.random() < 0.5:
        # Workers that are thought to be quick from the first, and worth reserving for.
        tuning["node.gateway.worker", "SLOW"] = random.choice((0.001, 0.01))
        tuning["node.gateway.assigning", "MIN_PREFETCH"] = 1
    if random.random() < 0.5:
        tuning["node.relay", "RECEIPT_AFTER"] = random.choice((1, 3))
        tuning["node.relay", "MAX_GATHERED"] = random.choice((1, 10, 100))
        tuning["node.stored_log", "FETCH_ENTRIES"] = random.choice((1, 3, 20))
    return tuning
