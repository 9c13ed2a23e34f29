"""What a worker is asked for at once, without a job, and what it answers: typed JSON in and out."""
