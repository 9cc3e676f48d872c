"""What the nodes of a cluster agree on, and how."""
