"""What tests share: models, homes, rows, stand-ins and their builders."""
