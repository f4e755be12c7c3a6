"""Training runs that outlive the page: jobs, data, proofs."""
