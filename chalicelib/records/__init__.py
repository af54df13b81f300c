"""The records: each file holds the reads and writes of one kind of item; docs/records.md has their shapes."""
