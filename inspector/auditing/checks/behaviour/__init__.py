"""The answers: whether they are right, and stay the same for a picture that changed a little."""
