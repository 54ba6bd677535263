"""A folder of scores: made, continued, written and read."""
