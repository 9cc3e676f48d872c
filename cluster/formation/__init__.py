"""Formation: from nodes that see one another to one group, and who comes into it and leaves it afterwards.

Sans-IO, as `cluster.raft` is: things happen to an object, and afterwards `take()` says what to do about them. No loop,
clock, disk, network or randomness of its own. A node has two lives here.

`Forming` is a node without a group. It finds out, with the others in sight, whether to found a group or to join one:

    forming = Forming(settings, identity.record, randrange=rng.randrange, now=monotonic_ms(), wall=epoch_ms())
    def pump():                                     # after every call below
        for action in forming.take():
            match action:
                case Send(to, message):    mesh.send(to, Lane.CONSENSUS, FORMATION_BYTE + encode(message))
                case Persist(record):      write the note, durably, then: forming.persisted(); pump()
                case Report(reason):       /readyz and the log have it
                case Refuse(node, reason): mesh.refuse(node, reason)
                case Found() | Join():     over: forming.over is True; make the Driver and the Admission
    mesh link_up(peer):      forming.linked(peer.introduction.node)
    mesh link_down(node):    forming.unlinked(node)
    mesh received(node, d):  forming.received(node, decode(d))  # FormationMessageError: drop the message, log it
    every 100 ms:            forming.tick(monotonic_ms(), epoch_ms())

`Admission` is a node with a group, on every member, from its first moment to its end:

    admission = Admission(settings, recovery.record, configuration, index, alive=..., randrange=..., now=..., wall=...)
    for node in mesh.peers: admission.linked(node)          # the links that are there already
    pump() as above, and:
        case Persist(record):              disk.note(FORMATION, record, then: admission.persisted(); pump())
        case ProposeConfiguration(change): try: raft.propose_configuration(change)
                                           except RefusedError as error: admission.proposed(str(error))
                                           else: admission.proposed()
        case TransferLeadership(to):       try: raft.transfer(to)
                                           except RefusedError as error: admission.transfer_refused(str(error))
        case Dial(host, port):             mesh.dial(host, port)
        case Answered(ticket, error):      the operator whose `admission.ask(order)` gave this ticket is answered
        case Removed(reason):              stop serving, for good; keep the links
    linked, unlinked, received, tick as above, and:
    admission.standing(leader)             # at every Ready.standing; "" when none is known
    admission.applied(configuration, index)  # at every CONFIGURATION entry that is applied, and after an installation
    admission.ask(Remove(node) | Transfer(node) | Add(host, port)) -> ticket

`configuration` and `index` at the start: what is committed as the driver starts, `durable.base.configuration` at
`durable.base.index` (a joiner that was sent nothing yet: `Configuration()` at 0). Calls may come from within the
handling of an action, as long as `take` is called again afterwards. One `Persist`, and one `ProposeConfiguration`, is
under way at a time.

Not for: finding addresses (`cluster.discovery`), links and who may have one (`cluster.mesh`), how a change of the
configuration is made safe (`cluster.raft`). docs/formation.md has the protocol and why it is safe.
"""

from cluster.formation.actions import (
    Action,
    Answered,
    Dial,
    Found,
    Join,
    Persist,
    ProposeConfiguration,
    Refuse,
    Removed,
    Report,
    Send,
    TransferLeadership,
)
from cluster.formation.admission import Admission, AdmissionSettings
from cluster.formation.errors import FormationError, FormationMessageError, FormationRecordError
from cluster.formation.forming import Forming, FormingSettings
from cluster.formation.messages import Add, Message, Order, Presence, Remove, State, Transfer, decode, encode
from cluster.formation.record import (
    Accepted,
    Founder,
    Free,
    Joiner,
    Proposal,
    Record,
    decode_record,
    encode_record,
    group_of,
)

__all__ = [
    "Accepted",
    "Action",
    "Add",
    "Admission",
    "AdmissionSettings",
    "Answered",
    "Dial",
    "FormationError",
    "FormationMessageError",
    "FormationRecordError",
    "Forming",
    "FormingSettings",
    "Found",
    "Founder",
    "Free",
    "Join",
    "Joiner",
    "Message",
    "Order",
    "Persist",
    "Presence",
    "Proposal",
    "ProposeConfiguration",
    "Record",
    "Refuse",
    "Remove",
    "Removed",
    "Report",
    "Send",
    "State",
    "Transfer",
    "TransferLeadership",
    "decode",
    "decode_record",
    "encode",
    "encode_record",
    "group_of",
]
