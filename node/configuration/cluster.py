"""What the settings of a cluster ask of one another, and of the secret.

Not for: reading any of them (`values`, `secret`).
"""

from pathlib import Path
from typing import Final

import msgspec

from node.configuration import secret
from node.configuration.collected import Collected
from node.configuration.model import Address, Configuration
from node.configuration.settings import SECRET_VARIABLE
from node.configuration.values import UnusableValueError, printable

_DEFAULTS: Final = {field.name: field.default for field in msgspec.structs.fields(Configuration)}
_NEED_OTHERS: Final = ("discovery", "mesh", "advertise", "mesh_cert", "node_timeout")
"""Settings that mean nothing to a node that stays alone."""

_HOW_TO_SHARE: Final = (
    "write one into a file (openssl rand -hex 32) and name it with --secret-file, or set GEARMESH_SECRET; "
    "--insecure does without"
)


def combine(collected: Collected, written_secret: str) -> None:
    """Read the secret, fill in what follows from other settings, and note what does not fit together.

    `written_secret` is what the variable holds; empty for nothing.
    """
    shared = _take_secret(collected, written_secret)
    _check_company(collected, shared=shared)
    _check_certificates(collected)
    _complete(collected)
    _check_ports(collected, meshed=shared or collected.values.get("insecure", False))


def _take_secret(collected: Collected, written: str) -> bool:
    """Put the secret in its place; tell whether there is to be one, usable or not."""
    chosen, place = collected.values, collected.place
    path: Path | None = chosen.get("secret_file")
    if written and path is not None:
        collected.problems.append(f"{SECRET_VARIABLE}: {place('secret_file')} is given too: say one or the other")
    elif written:
        try:
            chosen["secret"] = secret.of_text(written)
        except UnusableValueError as error:
            collected.problems.append(f"{SECRET_VARIABLE}: {error}")
    elif path is not None:
        try:
            chosen["secret"], exposed = secret.of_file(path)
        except UnusableValueError as error:
            collected.problems.append(f"{place('secret_file')}: {error}")
        else:
            if exposed:
                collected.warnings.append(
                    f"{place('secret_file')}: every user of this host can read {printable(str(path))}: "
                    "take that right away (chmod o-r)"
                )
    return bool(written) or path is not None


def _check_company(collected: Collected, *, shared: bool) -> None:
    """Check that nodes which are to become one cluster can trust one another, or were told not to mind."""
    chosen, place = collected.values, collected.place
    insecure = chosen.get("insecure", False)
    if shared and insecure:
        given = SECRET_VARIABLE if "secret_file" not in chosen else place("secret_file")
        collected.problems.append(f"{place('insecure')}: {given} is given too: say one or the other")
    expected = chosen.get("expect", 1)
    if shared or insecure:
        if chosen.get("peer") and expected == 1:
            collected.warnings.append(
                f"{place('peer')}: with --expect 1 a new node founds a cluster of its own if nobody answers in time: "
                "--expect with the number of nodes that are to found the cluster, also for those that join it later"
            )
        return
    if expected > 1:
        collected.problems.append(f"{place('expect')}: {expected} nodes need a secret that they share: {_HOW_TO_SHARE}")
    if chosen.get("peer"):
        collected.problems.append(
            f"{place('peer')}: linking to other nodes needs a secret that they share: {_HOW_TO_SHARE}"
        )
    if expected > 1 or chosen.get("peer"):
        return
    collected.warnings += [
        f"{place(field)}: has no effect: without a secret (--secret-file, {SECRET_VARIABLE}) this node stays alone"
        for field in _NEED_OTHERS
        if chosen.get(field, _DEFAULTS[field]) != _DEFAULTS[field]
    ]


def _check_certificates(collected: Collected) -> None:
    wanted = ("mesh_cert", "mesh_key", "mesh_ca")
    given = [field for field in wanted if field in collected.values]
    if 0 < len(given) < len(wanted):
        missing = " and ".join(f"--{field.replace('_', '-')}" for field in wanted if field not in given)
        collected.problems.append(f"{collected.place(given[0])}: goes with {missing}: give all three, or none")


def _complete(collected: Collected) -> None:
    chosen, origins = collected.values, collected.origins
    sources = chosen.get("discovery", _DEFAULTS["discovery"])
    if chosen.get("peer") and "static" not in sources:
        chosen["discovery"] = (*sources, "static")
        origins["discovery"] = " and ".join(origins[field] for field in ("discovery", "peer") if field in origins)
    mesh: Address = chosen.get("mesh", _DEFAULTS["mesh"])
    told: Address | None = chosen.get("advertise")
    if told is not None and told.port == 0:
        chosen["advertise"] = Address(told.host, mesh.port)


def _check_ports(collected: Collected, *, meshed: bool) -> None:
    """Check that no address is asked to serve two purposes: the system's own answer would not say which."""
    chosen = collected.values
    purposes: list[tuple[str, Address]] = [("listen", address) for address in chosen.get("listen", _DEFAULTS["listen"])]
    if meshed:
        purposes.append(("mesh", chosen.get("mesh", _DEFAULTS["mesh"])))
    if (http := chosen.get("http", _DEFAULTS["http"])) is not None:
        purposes.append(("http", http))
    for position, (field, address) in enumerate(purposes):
        for earlier_field, earlier in purposes[:position]:
            if field != earlier_field and _overlap(earlier, address):
                where = f"that {collected.place(earlier_field)} takes with {earlier}"
                collected.problems.append(f"{collected.place(field)}: {address} is a port {where}: choose another")


def _overlap(one: Address, other: Address) -> bool:
    if one.port != other.port or one.port == 0 or (":" in one.host) != (":" in other.host):
        return False
    every = ("0.0.0.0", "::")  # noqa: S104 - compared, not bound
    return one.host == other.host or one.host in every or other.host in every
