"""ACT: what the shell's door can do, a module for each command.

The ideas of this room: a command adds its own parser and returns an exit status; what `exec` and `serve` share
(options, a running proxy with its routes and stub, the table at the end) is in `session`. Nothing is decided or carried
here.
"""
