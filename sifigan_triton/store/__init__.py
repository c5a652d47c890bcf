"""Model repositories in an object store: published whole, switched by one small object, fetched and verified."""
