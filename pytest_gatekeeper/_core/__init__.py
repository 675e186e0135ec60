"""DECIDE: everything that is settled by looking at values alone.

Nothing in this package touches a socket, a thread, a clock, a file, the environment, anyio or pytest; an import-linter
contract says so. Its few ideas: a `Secret` never prints; a `Rule` is a credential with its value; `decide` settles one
request from its head; records say what happened.
"""
