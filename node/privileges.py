"""What the system lets this process do: how many files it may open, and as which user it runs."""

import os
import pwd
import resource

from node.errors import PrivilegeError


def raise_file_descriptor_limit(wanted: int | None) -> int:
    """Set the limit of open files (RLIMIT_NOFILE) and return the one in effect.

    None asks for all that the hard limit allows. Raises PrivilegeError for a number that the system refuses.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    target = hard if wanted is None else wanted
    if target == soft:
        return soft
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (target, max(hard, target) if hard >= 0 else hard))
    except (OSError, ValueError) as error:
        if wanted is None:  # some systems name a hard limit that they do not grant
            return soft
        raise PrivilegeError(
            f"file_descriptors: the system refuses {wanted} open files to this process (its hard limit is {hard})"
        ) from error
    return target


def drop_privileges(user: str | None) -> None:
    """Become `user`, with its groups, for good; do nothing for None or for the user that runs already.

    To be called once the sockets are bound, and before the data directory is opened, whose files then belong to `user`.
    Raises PrivilegeError when there is no such user, or when this process may not become it.
    """
    if user is None:
        return
    account = find_user(user)
    if os.geteuid() == account.pw_uid:
        return
    try:
        os.initgroups(account.pw_name, account.pw_gid)
        os.setgid(account.pw_gid)
        os.setuid(account.pw_uid)
    except OSError as error:
        raise PrivilegeError(f"user: cannot become {user}: {error.strerror}") from error


def find_user(user: str) -> pwd.struct_passwd:
    """Return the account that this process is to run as.

    Raises PrivilegeError when there is no such user, or when this process may not become it.
    """
    try:
        account = pwd.getpwnam(user)
    except KeyError:
        raise PrivilegeError(f"user: this host has no user {user}") from None
    if os.geteuid() not in (0, account.pw_uid):
        raise PrivilegeError(f"user: only root can become {user}: start as root, or as {user} without --user")
    return account
