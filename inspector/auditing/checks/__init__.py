"""The checks: a folder for each family, a file for each check. They are found by their files; nothing lists them."""
