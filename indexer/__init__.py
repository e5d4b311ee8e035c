"""Scan, decode, embed, store: everything that writes a library. Never imports `searchengine`."""
