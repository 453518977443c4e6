"""Several real daemons on one PostgreSQL database, which are killed, stopped, cut off and promoted.

    __main__.py    `python -m tests.cluster`: lanes of moments, or one scenario
    kills.py       a world in which daemons die and freeze at random and at named moments
    scenarios.py   partitions, failover, starts at once, limits, polls: one thing at a time
    fleet.py       the daemons, a publisher, an API and a receiver of events
    life.py        in a daemon's process: short leases, and traps that are set while it lives
    audit.py       triggers in the database that note who led when a claim was committed
    rules.py       what must hold of it all
    servers.py     PostgreSQL's servers: a primary, and a standby of it
    proxy.py       what lies between a daemon and its database

docs/cluster-test.md describes it and has its figures.
"""
