"""The studio: a local web application over the same calls as the commands."""
