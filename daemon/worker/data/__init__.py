"""From a dataset's rows to the token ids that are scored and trained on."""
