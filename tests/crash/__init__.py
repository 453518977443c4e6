"""A crash test: the real daemon, killed at random and at every step, must lose and repeat nothing.

    run.py         lanes in processes of their own, and their figures added up
    lane.py        worlds, one after another; each is a publisher, an API and a folder
    world.py       publish, start, kill, look; at the end let it come to rest and settle doubts
    copies.py      earlier copies of the database, put back; the journal, read and damaged
    posts.py       what both APIs were sent, by episode and step
    inspection.py  what must hold of the database after each kill
    plan.py        which kill comes when, by the seed alone
    launcher.py    a process without threads that has imported everything and forks each life
    boundaries.py  in the life: the n-th crossing of a named boundary kills it

docs/crash-test.md describes it and has its figures.
"""
