"""The command line: one short file a verb group; parse, call, print."""
