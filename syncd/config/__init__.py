"""What the file says: `load` turns it into `Settings`, or lists every fault at once."""
