"""The configuration of a node.

What can be set is in `model` and `settings`, how it is written in `values`, who writes it in `sources`; `gearmand`
knows gearmand's options.
"""

from node.configuration.model import Address, Configuration, LogFormat, LogLevel, handle_prefix
from node.configuration.sources import Effective, load

__all__ = ["Address", "Configuration", "Effective", "LogFormat", "LogLevel", "handle_prefix", "load"]
