"""What `prefd doctor` looks at: the machine, the home, the versions, how much room is left."""
