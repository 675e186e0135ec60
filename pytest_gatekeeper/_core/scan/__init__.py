"""FIND: the values of secrets in everything that passes, wherever it is cut and however it is encoded.

The ideas of this room: `needles` says what a value looks like in each encoding; a `Sieve` rules most data out, text by
its rarest bytes (`anchors`); a `Watchlist` finds values in bytes, a `Probe` in one stream; `inflate` and `frames` look
into coded bodies and WebSocket messages; a `LeakScan` judges what was seen in one exchange. Nothing here changes a
byte, holds one back, or raises.
"""
