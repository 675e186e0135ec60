"""REPORT: pytest's side of the house.

The ideas of this room: what the user asked for is read once (`options`, for each test `marker`) and becomes a `Plan`; a
`Run` holds what outlives a test (the configuration, the port, the facts); a test's environment is lent to it and taken
back (`environ`); what happened is told at the end (`report`), also across workers (`xdist`). Nothing here touches a
stream, and nothing heavy is imported before a test asks for a proxy.
"""
