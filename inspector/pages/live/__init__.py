"""The page of `inspector report --live`: the network and what runs it inside one file, which opens from disk."""
