"""The rewinder: the message log, its server, and the follower that keeps a copy of somebody else's.

`rewinder.log.MessageLog` is the stream on disk, `rewinder.storage.FileStorage` the directory it lies in;
`rewinder.process.RewinderProcess` is the process that serves it.
"""
