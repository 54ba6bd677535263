"""Pages that open offline in any browser: what the report and the audit share."""
