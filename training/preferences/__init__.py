"""Captions optimised by what clinicians preferred: the shards of `appliance cases corrections`."""
