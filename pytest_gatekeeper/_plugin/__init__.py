"""REPORT: pytest's side of the house.

The ideas of this room: what the user asked for is read once (`options`, for each test `marker`) and becomes a `Plan`; a
`Run` holds what outlives a test (the configuration, the port, the facts); a test's environment is lent to it and taken
back (`environ`); what its proxies recorded is taken as facts (`takings`, a floor below), which may fail the test
(`judge`), travel with its last report (`xdist`), are added up (`ledger`) and told at the end (`report`). Nothing here
touches a stream, and nothing heavy is imported before a test asks for a proxy.
"""
