"""Configurations: composition, canonical form, digest, display names and provenance.

No module here imports torch, so that `--help` stays quick.
"""
