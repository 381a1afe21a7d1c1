"""What a prediction costs in time, memory and arithmetic."""
