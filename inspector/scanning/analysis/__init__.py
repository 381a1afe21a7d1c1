"""What the rows of all pictures say together: label suspects, copies, outliers, clusters, figures by class."""
