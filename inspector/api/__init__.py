"""The public face: one function for each command, on the packages below. `import inspector` offers it by name."""
