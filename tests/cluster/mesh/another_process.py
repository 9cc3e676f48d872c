"""A node of its own process, to be killed by a test: prints its port, links with whoever dials it, and echoes."""

import asyncio
import sys

import uvloop

from tests.cluster.mesh.nodes import Node


async def main():
    node = Node("z", port=int(sys.argv[1]), instance=sys.argv[2])
    node.on_received = node.mesh.send
    await node.start()
    sys.stdout.write(f"{node.port}\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main())
