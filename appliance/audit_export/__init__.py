"""Exports of the audit log: what one holds, how it is written, how it is proved elsewhere."""
