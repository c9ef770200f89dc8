"""A policy and a request become a plan: the ordered steps of one run, each with the values it needs."""
