"""Train the demonstration voice: corpus, features, training, export. Not part of what is served."""
