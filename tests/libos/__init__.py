"""The guest library in process: its functions, compiled for the host, against Python models."""
