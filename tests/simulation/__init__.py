"""A whole cluster in one thread, from one seed: time, network, disks, faults, and on top the real job table.

    python -m tests.simulation --seeds 200 --start 1
    python -m tests.simulation --seed 17 --log

Everything that happens is an event on one queue (`schedule`), and every choice is drawn from one random source, so a
seed is a whole history and can be played again exactly. The consensus core, the job table, the driver, what goes
between the nodes (as bytes) and what listeners are told are the real ones, made from what the real recovery finds. What
they stand on are models: the event loop and its threads (`loop`), disks (`disk`), links (`network`), machines
(`machine`), and connections (`gateway`). `adversary` does what the seed's `profile` has in store; `actors` are the
clients and workers. What is checked at every step is in `safety`, by way of `observed`; what the cluster's users were
promised in `promises`; whether all that they were told is what one job server could have told them in `histories`.

In some of the seeds nobody is told who is in the cluster: nodes begin blank, have to find one another (`discovery`) and
to found it, and come and go under load (`membership`), by the real formation; that is judged in `foundings`.
"""
