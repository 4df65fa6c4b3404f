"""What can be typed: each command's arguments, options and help, and nothing of its work.

The work stands in `syncd.commands`, in the module of the same name, and is imported when it is
asked for (`later`): to see the help, or a mistake, is a matter of a moment.
"""
