"""What a change of a model's weights costs and brings: quality and speed, on the engine itself."""
