"""Elections: who may be voted for, and how a campaign goes (Raft paper, sections 5.2 and 5.4.1).

A campaign has two parts. In the first, pre-vote, nothing changes anywhere: the candidate learns whether it could win
(dissertation, section 9.6), so that a node that was cut off does not disturb the group when it comes back. Only then
does it raise its term, vote for itself, and ask for votes.
"""

from cluster.log import NO_VOTE
from cluster.raft import quorum
from cluster.raft.messages import PreVoteReply, PreVoteRequest, VoteReply, VoteRequest
from cluster.raft.ready import Role
from cluster.raft.server import Server


def answer_pre_vote(server: Server, request: PreVoteRequest) -> None:
    """Say whether this node would vote for the sender. Changes nothing here, not even a timer."""
    granted = (
        request.term > server.term
        and not server.blank
        and not server.hears_leader
        and server.log.is_behind(request.last_term, request.last_index)
    )
    # A refusal carries this node's own term: one that campaigns in an old term must learn of it, or it could neither
    # win nor make anybody win.
    term = request.term if granted else server.term
    server.outbox.send(PreVoteReply(request.sender, server.id, term, granted))


def answer_vote(server: Server, request: VoteRequest) -> bool:
    """Vote for the sender, or not (Figure 2, RequestVote RPC); tell which.

    The request is of this node's term or an earlier one.

    A blank node has no vote: a voter always has a log, so a blank one either is no voter or has lost what it promised.
    Whether this node is a voter in its own configuration does not matter: it may not have the latest.
    """
    granted = (
        request.term == server.term
        and (server.vote == request.sender or (server.vote == NO_VOTE and not server.leader))
        and not server.blank
        and server.log.is_behind(request.last_term, request.last_index)
    )
    if granted:
        server.vote_for(request.sender)
        server.restart_timer()
    server.outbox.send(VoteReply(request.sender, server.id, server.term, granted))
    return granted


class Campaign:
    """One node's campaign in one term, first without consequences (`pre`), then in earnest."""

    __slots__ = ("_server", "_transfer", "own_vote_write", "pre", "votes")

    def __init__(self, server: Server, *, pre: bool, transfer: bool = False) -> None:
        """Begin. `transfer`: the leader asked for it, so nobody is to refuse for the leader's sake."""
        self._server = server
        self._transfer = transfer
        self.pre = pre
        self.votes: dict[str, bool] = {}
        """The first answer of each; a repeated one changes nothing."""
        self.own_vote_write = 0
        """The write after which this node's own vote counts: like any vote, when it is durable."""
        server.leader = ""
        server.restart_timer()
        if pre:
            server.role = Role.PRE_CANDIDATE
            self.votes[server.id] = True
        else:
            server.role = Role.CANDIDATE
            server.enter_term(server.term + 1)
            server.vote_for(server.id)
            self.own_vote_write = server.outbox.hard_state_write
        self._ask()

    def _ask(self) -> None:
        server = self._server
        log = server.log
        for node in server.configuration.members:
            if node == server.id or not server.configuration.votes(node):
                continue
            if self.pre:
                server.outbox.send(PreVoteRequest(node, server.id, server.term + 1, log.last_index, log.last_term))
            else:
                server.outbox.send(
                    VoteRequest(node, server.id, server.term, log.last_index, log.last_term, self._transfer)
                )

    def answered(self, reply: PreVoteReply | VoteReply) -> None:
        """Take an answer in, if it is one to this campaign."""
        if isinstance(reply, PreVoteReply) is self.pre:
            self.votes.setdefault(reply.sender, reply.granted)

    def persisted(self) -> None:
        """Count this node's own vote once it is durable."""
        if not self.pre and self._server.outbox.persisted >= self.own_vote_write:
            self.votes[self._server.id] = True

    @property
    def outcome(self) -> quorum.Outcome:
        """How it stands."""
        return quorum.tally(self._server.configuration, self.votes)
