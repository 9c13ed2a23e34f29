"""The control API, a room for each noun. An endpoint is a route and what the OpenAPI document says of it, in one place."""
