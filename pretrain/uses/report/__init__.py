"""One page of a folder of scores, for a browser without internet."""
