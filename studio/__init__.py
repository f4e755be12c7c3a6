"""Training runs that outlive the program that started them: jobs, and what is read from and about them."""
