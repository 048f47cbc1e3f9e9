"""What is set around vLLM while an engine starts."""
