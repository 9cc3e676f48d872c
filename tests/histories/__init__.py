"""Histories of what clients and workers were told, and whether one job server could have told it.

`history` records calls: when each was sent, when it was answered, and with what. `model` is one Gearman job server for
one unique key, which does one thing at a time. `linearizability` looks for an order of the calls in which that server
gives these answers. `rules` holds the promises that can be checked without such a search. `verdict` does all of it.

The records can come from real processes or from a simulation: nothing here knows where. Nothing here imports the
product, so no fault of the product can be in the check as well.
"""
