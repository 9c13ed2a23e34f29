"""A cache shared by several machines through an object store, with a local mirror."""
