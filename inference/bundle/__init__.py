"""What a model bundle contains and may contain: manifest, verification, allow-lists, passes. Imported by every room above that needs the model."""
