"""Opening files that strangers send, so that a small one cannot cost much. Imports nothing else of labelmint."""
