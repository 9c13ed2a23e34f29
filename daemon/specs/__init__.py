"""Job specs: how they are read, checked, completed and described."""
