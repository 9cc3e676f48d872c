"""Formation (being written)."""

from cluster.formation.errors import FormationError, FormationMessageError, FormationRecordError
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
    "FormationError",
    "FormationMessageError",
    "FormationRecordError",
    "Founder",
    "Free",
    "Joiner",
    "Proposal",
    "Record",
    "decode_record",
    "encode_record",
    "group_of",
]
