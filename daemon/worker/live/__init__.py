"""The phase `live`: a model that a client of `prefd serve` trains and asks, one request after the other."""
