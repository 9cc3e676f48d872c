"""Run a node with `python -m node`, as `gearmesh` does."""

import sys

from node.cli import main

sys.exit(main())
