"""One file per command of the command line: its options, its call of the library, what it prints."""
