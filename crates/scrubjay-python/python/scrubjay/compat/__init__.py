"""Other packages' interfaces on Scrubjay's store."""
