"""A working copy in, its pipeline enacted on this very machine out: no installation, no records, nothing outside."""
