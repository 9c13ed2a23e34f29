"""What several commands share: options, completions, how errors become messages and exit codes."""
