"""One page of a folder of scores, which opens offline in any browser."""
