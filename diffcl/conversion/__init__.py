"""Public data sets turned into the folders that training reads, with a check of their alignment."""
