"""The scenario language: one event or one expectation a line, read as a story.

    # ...                                     a comment
    nodes 1 2 3                               first members; blank ones that are to join: `joining 4`
    settings max_append_bytes=1               before `nodes`
    log 1: 1 1 2                              before `nodes`: the terms of node 1's log on disk, from index 1 on
    campaign 1 | propose 1 x y | read 1 | transfer 1 2 | tick 2 10 (or: tick all 1) | compact 1 10
    change 1 add 4, promote 4, remove 2 [joint]
    deliver                                   all messages, and what they bring about, until it is quiet
    deliver 1->2 3->2                         what waits on these ways now
    among 1 2 3                               all messages between these nodes until they are quiet; the others' wait
    drop 1->2                                 lose what waits there; `drop` alone: everything
    repeat 1->2                               everything that waits there will come twice
    reverse 1->2                              what waits there will come in the opposite order
    cut 1->2 | cut 1-2 | isolate 1 | heal     one way, both ways, from everybody; what is cut is lost
    hold 2 | persist 2 [count] | release 2    the disk makes writes wait; let them through; wait no more
    crash 3 | restart 3 | wipe 3              losing what is not on disk; `wipe` loses the disk as well
    expect ...                                see `Story.expect_...`; after a refused event: `expect refused`

A node forgets its leader after 10 ticks and campaigns after 12.
"""

import re
from pathlib import Path

from cluster.log import Entry, EntryKind, HardState
from cluster.raft import Change, ChangeKind, ConfigurationChange, RefusedError, Role, bootstrap
from cluster.raft.messages import Append
from tests.cluster.raft.stage import Actor, Disk, Group

CHANGES = {
    "add": ChangeKind.ADD_LEARNER,
    "promote": ChangeKind.PROMOTE,
    "demote": ChangeKind.DEMOTE,
    "remove": ChangeKind.REMOVE,
}


class StoryError(AssertionError):
    """A line of a story that did not come true, or makes no sense."""


class Story:
    """Plays one file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.settings: dict[str, int] = {}
        self.logs: dict[str, list[int]] = {}
        self.blank: tuple[str, ...] = ()
        self.group = Group()
        self.refusal: RefusedError | None = None
        self.contexts = 0
        self.expectations = 0

    def play(self) -> None:
        for number, line in enumerate(self.path.read_text().splitlines(), 1):
            text = line.split("#")[0].strip()
            if not text:
                continue
            try:
                self.line(text)
            except Exception as error:
                where = f"{self.path.name}:{number}: {text}"
                raise StoryError(f"{where}\n  {type(error).__name__}: {error}\n{self.picture()}") from error
        self.no_refusal_forgotten()
        assert self.expectations, "a story that expects nothing tests nothing"

    def line(self, text: str) -> None:
        verb, _, rest = text.partition(" ")
        if verb == "expect":
            self.expectations += 1
            kind, _, rest = rest.partition(" ")
            getattr(self, f"expect_{kind}")(rest.strip())
            return
        self.no_refusal_forgotten()
        try:
            getattr(self, f"do_{verb}")(rest.strip())
        except RefusedError as error:
            self.refusal = error
        self.group.settle()

    def no_refusal_forgotten(self) -> None:
        if self.refusal is not None:
            raise StoryError(f"the event before was refused: {self.refusal}")

    def picture(self) -> str:
        lines = []
        for name, actor in self.group.actors.items():
            if actor.raft is None:
                lines.append(f"  {name}: down {actor.stopped or ''}")
                continue
            core = actor.raft
            progress = "".join(
                f"\n       of {who}: {p.state.value} match {p.match} next {p.next} stream {p.stream}"
                for who, p in core.followers.items()
            )
            lines.append(
                f"  {name}: {core.role.value} term {core.term} vote {core.vote or '-'} leader {core.leader or '-'} "
                f"log {core.first_index}..{core.last_index} stable {core.stable_index} commit {core.commit} "
                f"applied {actor.applied} {core.configuration}{progress}"
            )
        lines += [f"  waiting: {message}" for message in self.group.network]
        return "\n".join(lines)

    # Setting the stage

    def do_settings(self, rest: str) -> None:
        for item in rest.split():
            name, value = item.split("=")
            self.settings[name] = int(value)

    def do_log(self, rest: str) -> None:
        name, _, terms = rest.partition(":")
        self.logs[name.strip()] = [int(term) for term in terms.split()]

    def do_joining(self, rest: str) -> None:
        self.blank = tuple(rest.split())
        for name in self.blank:
            self.group.add(name, Disk())

    def do_nodes(self, rest: str) -> None:
        names = rest.split()
        self.group = Group(**self.settings)
        for name in names:
            disk = Disk(bootstrap(*names))
            terms = self.logs.get(name, [1])
            assert terms[0] == 1, "every log begins with the entry of term 1 that all first members share"
            entries = [
                Entry(index, term, EntryKind.COMMANDS, f"{index}@{term}".encode())
                for index, term in enumerate(terms[1:], 2)
            ]
            disk._entries.extend(entries)
            if entries:
                disk.hard_state = HardState(terms[-1], "")
            self.group.add(name, disk)

    def do_term(self, rest: str) -> None:
        """`term 1 5`: node 1, not yet started or to be restarted, has seen term 5."""
        name, term = rest.split()
        self.group.actors[name].disk.hard_state = HardState(int(term), "")
        self.group.hard_states.pop(name, None)
        self.group.restart(name)

    # Events

    def actors(self, names: str) -> list[Actor]:
        return [self.group.actors[name] for name in (self.group.actors if names == "all" else names.split())]

    def do_campaign(self, rest: str) -> None:
        self.group[rest].campaign()

    def do_propose(self, rest: str) -> None:
        name, *items = rest.split()
        for item in items:
            self.group[name].propose(item.encode())

    def do_read(self, rest: str) -> None:
        self.contexts += 1
        self.group[rest].read_index(self.contexts)

    def do_transfer(self, rest: str) -> None:
        name, to = rest.split()
        self.group[name].transfer(to)

    def do_change(self, rest: str) -> None:
        name, _, steps = rest.partition(" ")
        joint = steps.endswith(" joint")
        changes = []
        for step in steps.removesuffix(" joint").split(","):
            kind, node = step.split()
            changes.append(Change(CHANGES[kind], node))
        self.group[name].propose_configuration(ConfigurationChange(tuple(changes), joint))

    def do_tick(self, rest: str) -> None:
        names, count = rest.rsplit(" ", 1)
        for _ in range(int(count)):
            for actor in self.actors(names):
                if actor.raft is not None:
                    self.group.tick(actor.name)

    def do_compact(self, rest: str) -> None:
        name, index = rest.split()
        self.group.actors[name].compact(int(index))

    def pairs(self, rest: str) -> list[tuple[str, str]]:
        pairs = []
        for way in rest.split():
            match = re.fullmatch(r"(\w+)(->|-)(\w+)", way)
            assert match is not None, f"not a way between two nodes: {way}"
            pairs.append((match[1], match[3]))
            if match[2] == "-":
                pairs.append((match[3], match[1]))
        return pairs

    def do_deliver(self, rest: str) -> None:
        self.group.deliver(*self.pairs(rest))

    def do_among(self, rest: str) -> None:
        names = rest.split()
        pairs = [(one, other) for one in names for other in names if one != other]
        while any((m.sender, m.to) in pairs for m in self.group.network):
            self.group.deliver(*pairs)

    def do_drop(self, rest: str) -> None:
        self.group.drop(*self.pairs(rest))

    def do_repeat(self, rest: str) -> None:
        pairs = self.pairs(rest)
        self.group.network += [m for m in self.group.network if (m.sender, m.to) in pairs]

    def do_reverse(self, rest: str) -> None:
        pairs = self.pairs(rest)
        chosen = [m for m in self.group.network if (m.sender, m.to) in pairs]
        self.group.network = [m for m in self.group.network if (m.sender, m.to) not in pairs] + chosen[::-1]

    def do_cut(self, rest: str) -> None:
        pairs = self.pairs(rest)
        self.group.cut.update(pairs)
        self.group.drop(*pairs)

    def do_isolate(self, rest: str) -> None:
        for name in self.group.actors:
            if name != rest:
                self.do_cut(f"{rest}-{name}")

    def do_heal(self, rest: str) -> None:
        self.group.cut.clear()

    def do_hold(self, rest: str) -> None:
        for actor in self.actors(rest):
            actor.disk.held = True

    def do_persist(self, rest: str) -> None:
        name, *count = rest.split()
        self.group.actors[name].persist(int(count[0]) if count else None)

    def do_release(self, rest: str) -> None:
        for actor in self.actors(rest):
            actor.disk.held = False
            actor.persist()

    def do_crash(self, rest: str) -> None:
        for actor in self.actors(rest):
            actor.crash()

    def do_restart(self, rest: str) -> None:
        for actor in self.actors(rest):
            self.group.restart(actor.name)

    def do_wipe(self, rest: str) -> None:
        self.group.actors[rest].crash()
        self.group.hard_states.pop(rest, None)
        self.group.add(rest, Disk())

    # Expectations

    def expect_refused(self, rest: str) -> None:
        """`expect refused some words`: the event before was refused, with these words."""
        assert self.refusal is not None, "it was not refused"
        assert rest in str(self.refusal), f"refused otherwise: {self.refusal}"
        self.refusal = None

    def expect_leader(self, rest: str) -> None:
        """`expect leader 1 in term 2`, `expect leader none`."""
        leaders = [a.name for a in self.group.actors.values() if a.raft is not None and a.raft.role is Role.LEADER]
        name, *term = rest.split(" in term ")
        assert leaders == ([] if name == "none" else name.split()), f"leaders: {leaders}"
        if term:
            assert self.group[name].term == int(term[0]), f"term {self.group[name].term}"

    def expect_role(self, rest: str) -> None:
        """`expect role 2 pre-candidate`."""
        name, role = rest.split()
        assert self.group[name].role.value == role, self.group[name].role.value

    def expect_follows(self, rest: str) -> None:
        """`expect follows 2 1`: node 2 follows node 1; `nobody` when it knows no leader."""
        name, leader = rest.split()
        assert self.group[name].leader == ("" if leader == "nobody" else leader), self.group[name].leader

    def number(self, rest: str, attribute: str) -> None:
        names, number = rest.rsplit(" ", 1)
        for actor in self.actors(names):
            value = getattr(actor.core, attribute)
            assert value == int(number), f"{actor.name}: {value}"

    def expect_term(self, rest: str) -> None:
        """`expect term 1 2 5`: nodes 1 and 2 are in term 5."""
        self.number(rest, "term")

    def expect_commit(self, rest: str) -> None:
        """`expect commit all 5`."""
        self.number(rest, "commit")

    def expect_last(self, rest: str) -> None:
        """`expect last 2 7`: its log ends at 7."""
        self.number(rest, "last_index")

    def expect_first(self, rest: str) -> None:
        """`expect first 2 7`: its log begins with entry 7."""
        self.number(rest, "first_index")

    def expect_stable(self, rest: str) -> None:
        """`expect stable 1 7`: durable up to 7."""
        self.number(rest, "stable_index")

    def expect_log(self, rest: str) -> None:
        """`expect log 1: 1 1 2`: the terms of its entries from index 1 on."""
        names, _, terms = rest.partition(":")
        for actor in self.actors(names.strip()):
            core = actor.core
            found = [core.entry_term(index) for index in range(1, core.last_index + 1)]
            assert found == [int(term) for term in terms.split()], f"{actor.name}: {found}"

    def expect_applied(self, rest: str) -> None:
        """`expect applied 1 2: x y`: the commands applied, in order."""
        names, _, items = rest.partition(":")
        for actor in self.actors(names.strip()):
            assert actor.items == items.split(), f"{actor.name}: {actor.items}"

    def expect_members(self, rest: str) -> None:
        """`expect members 1: voters 1 2 3 learners 4 outgoing 1 2`: the configuration in force on node 1."""
        names, _, parts = rest.partition(":")
        wanted: dict[str, tuple[str, ...]] = {"voters": (), "learners": (), "outgoing": ()}
        part = ""
        for word in parts.split():
            if word in wanted:
                part = word
            else:
                wanted[part] += (word,)
        for actor in self.actors(names.strip()):
            found = actor.core.configuration
            assert {part: getattr(found, part) for part in wanted} == wanted, f"{actor.name}: {found}"

    def expect_progress(self, rest: str) -> None:
        """`expect progress 1 of 2: replicate match 3 next 4`: what leader 1 knows of node 2. Leave out any part."""
        names, _, words = rest.partition(":")
        name, who = names.split(" of ")
        progress = self.group[name].followers[who.strip()]
        found = {"state": progress.state.value, "match": str(progress.match), "next": str(progress.next)}
        state, *numbers = words.split()
        wanted = {"state": state} | dict(zip(numbers[::2], numbers[1::2], strict=True))
        assert wanted.items() <= found.items(), found

    def expect_read(self, rest: str) -> None:
        """`expect read 1: 5`, the last read on node 1: an index, `waiting`, or `failed`."""
        name, _, wanted = rest.partition(":")
        reads = self.group.actors[name].reads
        context = self.contexts
        found = "waiting" if context not in reads else "failed" if reads[context] is None else str(reads[context])
        assert found == wanted.strip(), found

    def expect_waiting(self, rest: str) -> None:
        """`expect waiting 1->2: Append Heartbeat`: the kinds of messages under way; `nothing` for none.

        Appends may be given with their entries: `Append(4..6)`, `Append()`.
        """
        way, _, wanted = rest.partition(":")
        (pair,) = self.pairs(way)
        found = []
        exact = "(" in wanted
        for message in self.group.network:
            if (message.sender, message.to) == pair:
                word = type(message).__name__
                if exact and isinstance(message, Append):
                    entries = message.entries
                    word += f"({entries[0].index}..{entries[-1].index})" if entries else "()"
                found.append(word)
        assert (found or ["nothing"]) == wanted.split(), found

    def expect_stopped(self, rest: str) -> None:
        """`expect stopped 3 some words`: the node stopped for a broken invariant."""
        name, _, words = rest.partition(" ")
        actor = self.group.actors[name]
        assert actor.stopped is not None, "it runs"
        assert words in str(actor.stopped), str(actor.stopped)

    def expect_transfers(self, rest: str) -> None:
        """`expect transfers 1 0`: how many snapshots are open for sending on node 1."""
        name, count = rest.split()
        assert len(self.group.actors[name].streams) == int(count), self.group.actors[name].streams
