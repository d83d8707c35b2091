"""Checkpoints that others trained, read without executing anything they carry."""
