"""The side door: health, metrics, the status page, and what an operator may ask, over HTTP.

listening   the sockets
serving     the connections on them: hypercorn, with a deadline around every write
guard       what holds for every request: the Host, the headers, the end of what goes wrong
entry       who may read, who may write, and how often
feed        one picture for all who look
desk        the way to Postgres: one thing at a time
routes      every address, with who may ask it and what it answers
openapi     the same for programs
door        all of it together, from the start of the daemon to its end

Nothing in here is imported unless `[admin]` is in the config.  What goes wrong in here costs
the answer to one request: it is told, and the daemon goes on.
"""
