"""The control API: a file for each noun; an endpoint is a route and its place in the OpenAPI document."""
