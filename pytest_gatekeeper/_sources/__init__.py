"""FETCH: values of credentials from where a configuration says they are.

Its few ideas: each kind of source is a module with one function, `fetch`, that gives a `Fetched` or raises SourceError;
a `Vault` fetches for all credentials of a proxy, by mode, and turns them into rules; a `Refresher` fetches again what
expires. No message holds a value, and no credential is injected here.
"""
