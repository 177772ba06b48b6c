"""The server behind `pocketsam serve`: a page to annotate photos with, and the HTTP API that it uses.

guard (host, origin, token, sizes) → app → routes → service → album (photos), queue (turns), annotations (files)
"""
