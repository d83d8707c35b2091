"""The HTTP face of labelmint: records, storage, queue and API. Imports no torch, so it starts in a second."""
