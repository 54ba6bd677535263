"""Pages for a browser without internet: what the report and the audit share."""
