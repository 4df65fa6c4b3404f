"""Wiring: the only room that knows every concrete class.

database  what is in the database, for whoever looks into it
wiring    builds one thing from Settings
opened    all that one process has open, and what a reload does to it
one_cycle the life of a process that runs one cycle
leaving   what happens when it is asked to leave
running   the daemon's life: signals, the service manager, the end
sidedoor  the side door and the metrics, where the config wants them
comparing what `syncd diff` opens
notices   who is told what needs a person
surveying what `syncd init` asks an address

Each is imported by whom it serves: one cycle needs neither the daemon nor the side door.
"""
