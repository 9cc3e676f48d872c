"""The Gearman listener's inside: connections, what their packets ask for, and what the job table answers.

`Gateway` is the whole of it; the other modules are its parts.
"""

from node.gateway.gateway import Gateway

__all__ = ["Gateway"]
