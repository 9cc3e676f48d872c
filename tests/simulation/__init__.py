"""A whole cluster in one thread, from one seed: time, network, disks, faults, and on top the real job table.

    python -m tests.simulation --seeds 200 --start 1
    python -m tests.simulation --seed 17 --log

Everything that happens is an event on one queue (`schedule`), and every choice is drawn from one random source, so a
seed is a whole history and can be played again exactly. The consensus core and the job table are the real ones; the
driver that ties them together (`driver`), the machines (`machine`), disks (`disk`) and links (`network`) are models.
`adversary` does what the seed's `profile` has in store; `actors` are the clients and workers. What is checked at every
step is in `safety`, what the cluster's users were promised in `promises`.
"""
