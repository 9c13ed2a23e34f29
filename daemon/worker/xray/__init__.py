"""`prefd xray`: what a dataset's pairs and the reference's scores of them say before anything is trained."""
